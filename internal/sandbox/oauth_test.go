package sandbox

import (
	"encoding/json"
	"net/http"
	"net/url"
	"testing"
	"time"
)

// form posts to the token endpoint, with Basic credentials where id is not "".
func (c *client) form(id, secret string, pairs ...string) received {
	c.t.Helper()
	values := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		values.Set(pairs[i], pairs[i+1])
	}
	header := http.Header{"Authorization": {"none"}}
	if id != "" {
		r := &http.Request{Header: header}
		r.SetBasicAuth(id, secret)
	}
	return c.do(http.MethodPost, "/oauth/token", []byte(values.Encode()), header)
}

func (c *client) refresh(token string) received {
	c.t.Helper()
	return c.form("sandbox", "sandbox-secret", "grant_type", "refresh_token", "refresh_token", token)
}

func TestClientCredentials(t *testing.T) {
	for name, test := range map[string]struct {
		options    Options
		id, secret string
		form       []string
		status     int
	}{
		"basic":         {Options{}, "sandbox", "sandbox-secret", []string{"grant_type", "client_credentials"}, 200},
		"basic encoded": {Options{ClientSecret: "a+b/c d"}, "sandbox", "a%2Bb%2Fc+d", []string{"grant_type", "client_credentials"}, 200},
		"basic plain":   {Options{ClientSecret: "a+b/c d"}, "sandbox", "a+b/c d", []string{"grant_type", "client_credentials"}, 200},
		"wrong secret":  {Options{}, "sandbox", "guess", []string{"grant_type", "client_credentials"}, 401},
		"form":          {Options{}, "", "", []string{"grant_type", "client_credentials", "client_id", "sandbox", "client_secret", "sandbox-secret"}, 200},
		"basic refused": {Options{RefuseBasic: true}, "sandbox", "sandbox-secret", []string{"grant_type", "client_credentials"}, 401},
		"form instead": {Options{RefuseBasic: true}, "", "",
			[]string{"grant_type", "client_credentials", "client_id", "sandbox", "client_secret", "sandbox-secret"}, 200},
		"unknown grant":   {Options{}, "sandbox", "sandbox-secret", []string{"grant_type", "password"}, 400},
		"refresh refused": {Options{}, "sandbox", "sandbox-secret", []string{"grant_type", "refresh_token", "refresh_token", ""}, 400},
		"no credentials":  {Options{}, "", "", []string{"grant_type", "client_credentials"}, 401},
	} {
		t.Run(name, func(t *testing.T) {
			c := serveOrg(t, test.options)
			if r := c.form(test.id, test.secret, test.form...); r.status != test.status {
				t.Errorf("%d %s, want %d", r.status, r.body, test.status)
			}
		})
	}
}

func TestRefreshToken(t *testing.T) {
	for _, keep := range []bool{false, true} {
		c := serveOrg(t, Options{RefreshToken: "first", KeepRefreshToken: keep})
		var got struct {
			AccessToken  string `json:"access_token"`
			RefreshToken string `json:"refresh_token"`
			ExpiresIn    int    `json:"expires_in"`
		}
		if r := c.refresh("first"); r.status != 200 || json.Unmarshal(r.body, &got) != nil || got.ExpiresIn != 86400 {
			t.Fatalf("keep=%v: %d %s", keep, r.status, r.body)
		}
		c.token = got.AccessToken
		if r := c.get("/api/v2/organizations/me"); r.status != 200 {
			t.Errorf("keep=%v: the new access token gets %d", keep, r.status)
		}
		if (got.RefreshToken == "") != keep {
			t.Errorf("keep=%v: new refresh token %q", keep, got.RefreshToken)
		}
		if r := c.refresh("first"); (r.status == 200) != keep {
			t.Errorf("keep=%v: the old refresh token gets %d", keep, r.status)
		}
		if !keep && c.refresh(got.RefreshToken).status != 200 {
			t.Error("the new refresh token does not work")
		}
	}
}

func TestAccessTokenLife(t *testing.T) {
	clock := &clock{now: noon}
	c := serveOrg(t, Options{Clock: clock.time, TokenLife: time.Minute})
	check := func(when string, want int) {
		t.Helper()
		if r := c.get("/api/v2/organizations/me"); r.status != want {
			t.Errorf("%s: %d, want %d", when, r.status, want)
		}
	}
	check("at once", 200)
	clock.forward(59 * time.Second)
	check("in its last second", 200)
	clock.forward(time.Second)
	check("when it is over", 401)
	c.login()
	check("after a new login", 200)
	c.org.ExpireTokens()
	check("after all were ended", 401)
	c.login()
	c.org.SetCredentials("sandbox", "rotated")
	check("with other credentials in force", 200)
	if r := c.form("sandbox", "sandbox-secret", "grant_type", "client_credentials"); r.status != 401 {
		t.Errorf("the old secret gets %d", r.status)
	}
	c.token = "made up"
	check("with a made-up token", 401)
}
