package genesys

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Regions are the domains of Genesys Cloud; each has an API host api.R and a
// login host login.R. Source: "Platform API" regions table, help.mypurecloud.com.
var Regions = []string{
	"mypurecloud.com", "usw2.pure.cloud", "cac1.pure.cloud", "mypurecloud.ie", "euw2.pure.cloud",
	"mypurecloud.de", "mypurecloud.com.au", "mypurecloud.jp", "aps1.pure.cloud", "apne2.pure.cloud",
	"apne3.pure.cloud", "sae1.pure.cloud", "mec1.pure.cloud", "euc2.pure.cloud",
}

// RegionURLs gives the API and login URL of a region; an unknown one is a *ValueError with the list.
func RegionURLs(region string) (api, login string, err error) {
	name := strings.ToLower(strings.TrimSpace(region))
	if !slices.Contains(Regions, name) {
		return "", "", &ValueError{
			Variable: "GENESYS_REGION", Value: region, Suggestion: nearest(name, Regions),
			Reason: "no such region; there are " + strings.Join(Regions, ", "),
		}
	}
	return "https://api." + name, "https://login." + name, nil
}

// baseURL reads the URL of a host. Its errors never hold the text, in which
// somebody may have put a password.
func baseURL(variable, text string) (*url.URL, error) {
	u, err := url.Parse(strings.TrimRight(text, "/"))
	switch {
	case err != nil, u.Scheme != "https" && u.Scheme != "http", u.Host == "":
		return nil, fmt.Errorf("%s is no http or https URL", variable)
	case u.User != nil:
		return nil, fmt.Errorf("%s must not hold a user or password", variable)
	case u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("%s must not hold a query or fragment", variable)
	}
	return u, nil
}
