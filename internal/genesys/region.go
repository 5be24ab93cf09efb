package genesys

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Regions are the domains of Genesys Cloud that are known; each has an API host api.R
// and a login host login.R. Source: the vendor's SDK for Python, 269.0.0,
// PureCloudRegionHosts. New ones appear each year.
var Regions = []string{
	"mypurecloud.com", "usw2.pure.cloud", "cac1.pure.cloud", "mypurecloud.ie", "euw2.pure.cloud", "mypurecloud.de",
	"mypurecloud.com.au", "mypurecloud.jp", "aps1.pure.cloud", "apne2.pure.cloud", "apne3.pure.cloud", "sae1.pure.cloud",
	"mec1.pure.cloud", "euc2.pure.cloud", "use2.us-gov-pure.cloud", "mxc1.pure.cloud", "apse1.pure.cloud", "edee1.eusc-pure.cloud",
}

// KnownRegion reports whether a region is one of Regions. One that is not may be new:
// no other one is ever taken, or named, in its place.
func KnownRegion(region string) bool { return slices.Contains(Regions, region) }

// RegionURLs returns the API and login URL of a region, known or not.
func RegionURLs(region string) (api, login string) {
	return "https://api." + region, "https://login." + region
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
