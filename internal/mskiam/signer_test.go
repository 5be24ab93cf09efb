package mskiam

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// verify checks a request that is signed in its query as AWS documents it ("Authenticating
// Requests: Using Query Parameters (AWS Signature Version 4)" in the reference of S3;
// "Create a signed AWS API request" in the IAM user guide). It uses nothing of the SDK.
// ignored names what of the query was added after signing.
func verify(address, method, service, payload string, secrets map[string]string, now time.Time, ignored ...string) error {
	u, err := url.Parse(address)
	if err != nil {
		return err
	}
	q := u.Query()
	one := func(name string) string {
		if len(q[name]) != 1 {
			return ""
		}
		return q[name][0]
	}
	scope := strings.SplitN(one("X-Amz-Credential"), "/", 2)
	if len(scope) != 2 || one("X-Amz-Algorithm") != "AWS4-HMAC-SHA256" || one("X-Amz-SignedHeaders") != "host" {
		return fmt.Errorf("not signed by the host: %s", u.RawQuery)
	}
	secret, ok := secrets[scope[0]]
	if !ok {
		return fmt.Errorf("unknown access key %s", scope[0])
	}
	signed, err := time.Parse("20060102T150405Z", one("X-Amz-Date"))
	if err != nil {
		return err
	}
	seconds, err := strconv.Atoi(one("X-Amz-Expires"))
	if err != nil || now.Before(signed.Add(-5*time.Minute)) || now.After(signed.Add(time.Duration(seconds)*time.Second)) {
		return fmt.Errorf("signed %v for %d s", signed, seconds)
	}
	parts := strings.Split(scope[1], "/")
	if len(parts) != 4 || parts[0] != signed.Format("20060102") || parts[2] != service || parts[3] != "aws4_request" {
		return fmt.Errorf("scope %s", scope[1])
	}
	signature := one("X-Amz-Signature")
	for _, name := range append(ignored, "X-Amz-Signature") {
		q.Del(name)
	}
	// UriEncode of the documentation: everything but A-Z, a-z, 0-9, "-", ".", "_", "~".
	encode := func(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }
	var query []string
	for _, name := range slices.Sorted(maps.Keys(q)) {
		query = append(query, encode(name)+"="+encode(one(name)))
	}
	request := strings.Join([]string{method, u.EscapedPath(), strings.Join(query, "&"), "host:" + u.Host, "", "host", payload}, "\n")
	hashed := sha256.Sum256([]byte(request))
	toSign := strings.Join([]string{"AWS4-HMAC-SHA256", one("X-Amz-Date"), scope[1], hex.EncodeToString(hashed[:])}, "\n")
	key := []byte("AWS4" + secret)
	for _, part := range append(parts, toSign) {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(part))
		key = h.Sum(nil)
	}
	if want := hex.EncodeToString(key); signature != want {
		return fmt.Errorf("signature %s, want %s", signature, want)
	}
	return nil
}

// TestVerifierAgreesWithAWS: the example of the S3 documentation, with its keys.
func TestVerifierAgreesWithAWS(t *testing.T) {
	const example = "https://examplebucket.s3.amazonaws.com/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256" +
		"&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z" +
		"&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
	const signature = "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
	secrets := map[string]string{"AKIAIOSFODNN7EXAMPLE": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}
	now := time.Date(2013, 5, 24, 1, 0, 0, 0, time.UTC)
	if err := verify(example+signature, "GET", "s3", "UNSIGNED-PAYLOAD", secrets, now); err != nil {
		t.Error(err)
	}
	for _, wrong := range []string{strings.Replace(example, "86400", "86401", 1) + signature, example + "&a=b" + signature, example} {
		if verify(wrong, "GET", "s3", "UNSIGNED-PAYLOAD", secrets, now) == nil {
			t.Errorf("accepted: %s", wrong)
		}
	}
}

// secretOf is the secret key that goes with an access key of the tests.
func secretOf(key string) string { return "secret of " + key }

// check verifies a token as MSK does: base64url of a presigned GET at the region's endpoint,
// service kafka-cluster, action kafka-cluster:Connect, of an empty payload; User-Agent is
// added after signing (aws-msk-iam-sasl-signer, README; aws-msk-iam-auth, README, "Details").
func check(token, region, key, session string) error {
	text, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		return err
	}
	u, err := url.Parse(string(text))
	if err != nil {
		return err
	}
	q := u.Query()
	empty := sha256.Sum256(nil)
	switch {
	case u.Scheme != "https" || u.Host != "kafka."+region+".amazonaws.com" || u.Path != "/":
		return fmt.Errorf("address %s", text)
	case q.Get("Action") != "kafka-cluster:Connect" || q.Get("User-Agent") == "":
		return fmt.Errorf("query %s", u.RawQuery)
	case !strings.HasPrefix(q.Get("X-Amz-Credential"), key+"/") || !strings.Contains(q.Get("X-Amz-Credential"), "/"+region+"/"):
		return fmt.Errorf("credential %s, want that of %s in %s", q.Get("X-Amz-Credential"), key, region)
	case q.Get("X-Amz-Security-Token") != session:
		return fmt.Errorf("session token %q, want %q", q.Get("X-Amz-Security-Token"), session)
	}
	return verify(string(text), "GET", "kafka-cluster", hex.EncodeToString(empty[:]), map[string]string{key: secretOf(key)}, time.Now(), "User-Agent")
}

// amazon is what of AWS is asked for credentials: STS, and an instance's metadata.
type amazon struct {
	mu   sync.Mutex
	life time.Duration
	seen []string
}

func (a *amazon) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch r.URL.Path {
	case "/latest/api/token": // IMDSv2
		w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "21600")
		_, _ = io.WriteString(w, "imds")
	case "/latest/meta-data/iam/security-credentials/":
		_, _ = io.WriteString(w, "node-role")
	case "/latest/meta-data/iam/security-credentials/node-role":
		a.seen = append(a.seen, "metadata")
		key := fmt.Sprintf("METADATA%d", len(a.seen))
		_, _ = fmt.Fprintf(w, `{"Code":"Success","Type":"AWS-HMAC","AccessKeyId":%q,"SecretAccessKey":%q,"Token":"session-m","Expiration":%q}`,
			key, secretOf(key), time.Now().Add(a.life).UTC().Format(time.RFC3339))
	default:
		action := r.PostFormValue("Action")
		a.seen = append(a.seen, action+" "+r.PostForm.Get("RoleArn")+" "+r.PostForm.Get("WebIdentityToken"))
		key := fmt.Sprintf("%s%d", strings.ToUpper(action), len(a.seen))
		_, _ = fmt.Fprintf(w, `<%[1]sResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><%[1]sResult><Credentials><AccessKeyId>%s</AccessKeyId>`+
			`<SecretAccessKey>%s</SecretAccessKey><SessionToken>session-s</SessionToken><Expiration>%s</Expiration></Credentials></%[1]sResult></%[1]sResponse>`,
			action, key, secretOf(key), time.Now().Add(a.life).UTC().Format(time.RFC3339))
	}
}

// environment leaves of AWS' environment what is given alone, and points what would ask
// AWS at the test.
func environment(t *testing.T, life time.Duration, variables map[string]string) *amazon {
	t.Helper()
	for _, line := range os.Environ() {
		if name, value, _ := strings.Cut(line, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, value)
			_ = os.Unsetenv(name)
		}
	}
	a := &amazon{life: life}
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	none := filepath.Join(t.TempDir(), "none")
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL_STS": server.URL, "AWS_EC2_METADATA_SERVICE_ENDPOINT": server.URL, "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_CONFIG_FILE": none, "AWS_SHARED_CREDENTIALS_FILE": none,
	} {
		t.Setenv(name, value)
	}
	for name, value := range variables {
		t.Setenv(name, value)
	}
	return a
}

var keys = map[string]string{"AWS_ACCESS_KEY_ID": "STATIC", "AWS_SECRET_ACCESS_KEY": secretOf("STATIC"), "AWS_SESSION_TOKEN": "session/+="}

func signed(t *testing.T, s *Signer, region, key, session string) {
	t.Helper()
	token, ends, err := s.Token(t.Context())
	if err == nil {
		err = check(token, region, key, session)
	}
	if left := time.Until(ends); err == nil && (left <= 0 || left > 15*time.Minute) {
		t.Errorf("%s: it ends in %v", key, left)
	}
	if err != nil {
		t.Errorf("%s: %v", key, err)
	}
}

func TestTokenIsSignedAsMSKVerifiesIt(t *testing.T) {
	environment(t, 0, keys)
	signed(t, New("eu-west-1", ""), "eu-west-1", "STATIC", "session/+=")
	token, _, _ := New("eu-west-1", "").Token(t.Context())
	for name, err := range map[string]error{
		"another region":  check(token, "eu-west-2", "STATIC", "session/+="),
		"another session": check(token, "eu-west-1", "STATIC", ""),
		"one bit":         check(token[:200]+string(token[200]^1)+token[201:], "eu-west-1", "STATIC", "session/+="),
	} {
		if err == nil {
			t.Errorf("the verifier accepts %s", name)
		}
	}
}

func TestRoleIsAssumedWithTheIdentityThatIsThere(t *testing.T) {
	a := environment(t, time.Hour, keys)
	s := New("eu-west-1", "arn:aws:iam::123456789012:role/audit")
	signed(t, s, "eu-west-1", "ASSUMEROLE1", "session-s")
	signed(t, s, "eu-west-1", "ASSUMEROLE1", "session-s")
	if want := []string{"AssumeRole arn:aws:iam::123456789012:role/audit "}; !slices.Equal(a.seen, want) {
		t.Errorf("asked STS %q, want %q", a.seen, want)
	}
}

func TestWebIdentityIsReadAgainWhenCredentialsEnd(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	// Their life ends within the window in which they are replaced: at each use.
	a := environment(t, expiryWindow/2, map[string]string{"AWS_WEB_IDENTITY_TOKEN_FILE": file, "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/pod"})
	s := New("eu-west-1", "")
	for i, identity := range []string{"first", "second"} {
		if err := os.WriteFile(file, []byte(identity), 0o600); err != nil {
			t.Fatal(err)
		}
		signed(t, s, "eu-west-1", fmt.Sprintf("ASSUMEROLEWITHWEBIDENTITY%d", i+1), "session-s")
	}
	if want := []string{"AssumeRoleWithWebIdentity arn:aws:iam::123456789012:role/pod first", "AssumeRoleWithWebIdentity arn:aws:iam::123456789012:role/pod second"}; !slices.Equal(a.seen, want) {
		t.Errorf("asked STS %q, want %q", a.seen, want)
	}
}

func TestInstanceMetadataGivesCredentials(t *testing.T) {
	environment(t, time.Hour, map[string]string{"AWS_EC2_METADATA_DISABLED": "false"})
	signed(t, New("eu-west-1", ""), "eu-west-1", "METADATA1", "session-m")
}

func TestSharedFilesAreReadAgainAfterARefusal(t *testing.T) {
	file := filepath.Join(t.TempDir(), "credentials")
	environment(t, 0, map[string]string{"AWS_SHARED_CREDENTIALS_FILE": file})
	rotate := func(key string) {
		if err := os.WriteFile(file, []byte("[default]\naws_access_key_id="+key+"\naws_secret_access_key="+secretOf(key)+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	rotate("FIRST")
	s := New("eu-west-1", "")
	signed(t, s, "eu-west-1", "FIRST", "")
	rotate("SECOND")
	if s.Refused("") {
		t.Error("credentials that were read a moment ago are read again")
	}
	s.loaded = s.loaded.Add(-minAge)
	if !s.Refused("") {
		t.Error("old credentials are kept after a refusal")
	}
	signed(t, s, "eu-west-1", "SECOND", "")
}

func TestNoIdentityIsAnErrorWithoutSecrets(t *testing.T) {
	environment(t, 0, nil)
	_, _, err := New("eu-west-1", "").Token(t.Context())
	if err == nil || !strings.HasPrefix(err.Error(), "AWS identity: ") {
		t.Errorf("%v", err)
	}
	t.Setenv("AWS_PROFILE", "absent")
	if _, _, err := New("eu-west-1", "").Token(t.Context()); err == nil || !strings.Contains(err.Error(), "absent") {
		t.Errorf("%v", err)
	}
	if _, err := Region(t.Context()); err == nil {
		t.Errorf("%v", err)
	}
}

func TestRegionIsAWSOwn(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config")
	environment(t, 0, map[string]string{"AWS_CONFIG_FILE": file})
	for _, c := range []struct{ variable, value, want string }{
		{"AWS_PROFILE", "", ""}, {"AWS_PROFILE", "work", "eu-north-1"},
		{"AWS_DEFAULT_REGION", "eu-west-3", "eu-west-3"}, {"AWS_REGION", "eu-west-1", "eu-west-1"},
	} {
		if err := os.WriteFile(file, []byte("[profile work]\nregion=eu-north-1\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		t.Setenv(c.variable, c.value)
		if got, err := Region(t.Context()); got != c.want || err != nil {
			t.Errorf("%s=%s: %q, %v, want %q", c.variable, c.value, got, err, c.want)
		}
	}
}
