//go:build postgres && linux

package postgres

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"

	"genesys-audit-connector/internal/connecttest"
)

// database is one of a server, as somebody who logs in.
type database struct{ host, port, user string }

func (d database) url() string {
	return fmt.Sprintf("postgresql://%s@%s:%s/audit", d.user, d.host, d.port)
}

// as returns the same database for another login.
func (d database) as(user string) database { d.user = user; return d }

// psql runs statements and returns what they print, unaligned.
func (d database) psql(sql string) (string, error) {
	out, err := exec.Command("psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", d.url(), "-c", sql).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", sql, err, out)
	}
	return string(out), nil
}

// do runs statements that must work.
func (d database) do(t *testing.T, sql string) {
	t.Helper()
	if _, err := d.psql(sql); err != nil {
		t.Fatal(err)
	}
}

// rows reads the rows of a query as JSON objects into a slice of maps or structs.
func (d database) rows(query string, into any) error {
	out, err := d.psql("SELECT coalesce(json_agg(q), '[]') FROM (" + query + ") q")
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(out), into)
}

// count is the one number that a query has.
func (d database) count(query string) (int, error) {
	out, err := d.psql(query)
	if err != nil {
		return 0, err
	}
	var n int
	_, err = fmt.Sscan(out, &n)
	return n, err
}

// startServer starts PostgreSQL on loopback in a folder of its own, with an empty database. It refuses to run as root, so
// where the tests are root's it runs as the user that Debian makes for it.
func startServer(t *testing.T) database {
	t.Helper()
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		t.Fatal("no PostgreSQL; run scripts/postgres-install", err)
	}
	bin := filepath.Dir(slices.Max(found))
	dir, err := os.MkdirTemp("", "postgres")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	var unprivileged []string
	if os.Getuid() == 0 {
		u, err := user.Lookup("postgres")
		if err != nil {
			t.Fatal(err)
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		if err := os.Chown(dir, uid, gid); err != nil {
			t.Fatal(err)
		}
		// The kernel forgets who is to die with its parent when the user changes; setpriv says it again.
		unprivileged = []string{"setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--pdeathsig=KILL", "--"}
	}
	data := filepath.Join(dir, "data")
	initdb := append(slices.Clone(unprivileged), filepath.Join(bin, "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
	cmd := exec.Command(initdb[0], initdb[1:]...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	_, port := connecttest.FreeAddr(t)
	p := connecttest.Start(t, "PostgreSQL", nil, append(unprivileged, filepath.Join(bin, "postgres"), "-D", data, "-p", port,
		"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "fsync=off")...)
	t.Cleanup(func() { p.End(syscall.SIGINT) }) // before it is killed, which would leave shared memory
	p.Await(t, func() error {
		out, err := exec.Command("psql", "-XqAt", "-h", "127.0.0.1", "-p", port, "-U", "postgres", "-d", "postgres", "-c", "CREATE DATABASE audit").CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	return database{"127.0.0.1", port, "postgres"}
}

// install runs the shipped script twice, as operators do, and makes the logins of its roles.
func install(t *testing.T, db database) {
	t.Helper()
	runInstall(t, db)
	runInstall(t, db)
	db.do(t, "CREATE ROLE genesys_audit_sink LOGIN IN ROLE genesys_audit_writer; CREATE ROLE auditor LOGIN IN ROLE genesys_audit_reader; ALTER ROLE auditor SET jit = off")
}

func runInstall(t *testing.T, db database) {
	t.Helper()
	if out, err := exec.Command("./install", db.url()).CombinedOutput(); err != nil {
		t.Fatalf("install: %v\n%s", err, out)
	}
}
