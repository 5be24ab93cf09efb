package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sethvargo/go-envconfig"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	// Replaced, not rewritten, as Kubernetes and Vault do it.
	if err := os.WriteFile(path+".new", []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func TestSecretRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	writeFile(t, path, "first\r\n")
	cfg := load(t, "-GENESYS_CLIENT_SECRET", "GENESYS_CLIENT_SECRET_FILE="+path)
	secret := cfg.Genesys.ClientSecret
	steps := []struct {
		what string
		do   func()
		want string
	}{
		{"as found", func() {}, "first"},
		{"replaced", func() { writeFile(t, path, "second") }, "second"},
		{"replaced by one of the same length", func() { writeFile(t, path, "SECOND\n") }, "SECOND"},
		{"emptied", func() { writeFile(t, path, "\n") }, "SECOND"},
		{"gone", func() { os.Remove(path) }, "SECOND"},
		{"a folder", func() { os.Mkdir(path, 0o700) }, "SECOND"},
		{"gone again", func() { os.Remove(path) }, "SECOND"},
		{"far too long", func() { writeFile(t, path, strings.Repeat("x", maxSecretBytes+1)) }, "SECOND"},
		{"back", func() { writeFile(t, path, "third\n") }, "third"},
	}
	for _, s := range steps {
		s.do()
		if got := secret.Value(); got != s.want {
			t.Errorf("%s: value %q, want %q", s.what, got, s.want)
		}
		if got := cfg.Genesys.ClientSecret.Value(); got != s.want {
			t.Errorf("%s: another copy has %q, want %q", s.what, got, s.want)
		}
	}
}

// TestSecretsDoNotPrint sets every secret to a canary and prints the
// configuration in every way that comes to mind.
func TestSecretsDoNotPrint(t *testing.T) {
	const canary = "c4n4ry"
	path := filepath.Join(t.TempDir(), "secret")
	writeFile(t, path, canary)
	env := rightEnv()
	env["KAFKA_SASL_MECHANISM"], env["SCHEMA_REGISTRY_URL"] = "SCRAM-SHA-512", "https://registry:8081"
	secrets := 0
	apart := []string{"EVIDENCE_KEY", "KAFKA_TLS_KEY_PASSWORD", "SCHEMA_REGISTRY_TOKEN", "SCHEMA_REGISTRY_OAUTH_CLIENT_ID", "SCHEMA_REGISTRY_OAUTH_CLIENT_SECRET"}
	for _, v := range Variables() {
		if v.Secret && !slices.Contains(apart, v.Name) {
			secrets++
			delete(env, v.Name)
			if secrets%2 == 0 {
				env[v.Name] = canary
			} else {
				env[v.Name+"_FILE"] = path
			}
		}
	}
	cfg, err := Load(envconfig.MapLookuper(env))
	if err != nil {
		t.Fatal(err)
	}
	// These cannot be set beside the others, or to just any text.
	r := &cfg.Registry
	r.Token, r.OAuth.ClientID, r.OAuth.ClientSecret = NewSecret(canary), NewSecret(canary), NewSecret(canary)
	cfg.Kafka.TLS.KeyPassword, cfg.Evidence.Key = NewSecret(canary), NewSecret(canary)
	if secrets != 9 || cfg.Genesys.ClientSecret.Value() != canary || cfg.Registry.Password.Value() != canary {
		t.Fatalf("%d secrets, and they do not hold the canary", secrets)
	}

	var out bytes.Buffer
	for _, value := range []any{cfg, &cfg, cfg.Genesys, cfg.Genesys.ClientSecret, &cfg.Genesys.ClientSecret, []Secret{cfg.Genesys.RefreshToken}, map[string]Secret{"a": cfg.Genesys.RefreshToken}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%T", "%10.3s"} {
			fmt.Fprintf(&out, verb+"\n", value)
		}
		if err := json.NewEncoder(&out).Encode(value); err != nil {
			t.Fatal(err)
		}
		for _, encoder := range []zapcore.Encoder{
			zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.NewConsoleEncoder(zap.NewDevelopmentEncoderConfig()),
		} {
			log := zap.New(zapcore.NewCore(encoder, zapcore.AddSync(&out), zap.DebugLevel))
			log.Info("config", zap.Any("any", value), zap.Reflect("reflect", value), zap.String("string", fmt.Sprint(value)))
			log.Sugar().Infow("config", "sugar", value)
		}
		slog.New(slog.NewJSONHandler(&out, nil)).Info("config", "value", value)
		slog.New(slog.NewTextHandler(&out, nil)).Info("config", "value", value)
	}
	for _, form := range []string{canary, fmt.Sprintf("%x", canary), fmt.Sprintf("%X", canary)} {
		if i := strings.Index(out.String(), form); i >= 0 {
			t.Fatalf("a secret is printed: …%s…", out.String()[max(0, i-80):min(out.Len(), i+20)])
		}
	}
	if strings.Count(out.String(), redacted) < 100 {
		t.Errorf("nothing was printed where the secrets are:\n%s", out.String())
	}
}
