package codec

import (
	"maps"
	"slices"

	"genesys-audit-connector/internal/mask"
)

// addressNames and secretNames are names of properties that the models of the vendor's SDK
// (PyPI PureCloudPlatformClientV2 269.0.0) have for telephone numbers and addresses, and
// for secrets. They count in documents of every entity type, whatever they are below.
var (
	addressNames = []string{
		"address", "addresses", "address1", "address2", "addressRaw", "addressNormalized", "addressDisplayable", "street", "street1", "street2",
		"postalCode", "zipcode", "email", "emails", "emailAddress", "emailAddresses", "workEmail", "personalEmail", "otherEmail", "userEmail",
		"phoneNumber", "phoneNumbers", "contactPhoneNumber", "workPhone", "cellPhone", "homePhone", "otherPhone", "faxNumber",
		"callerId", "callerAddress", "callerIdPhoneNumber", "e164", "ani", "dnis", "fromAddress", "toAddress", "toAddresses", "replyToAddress",
		"ipAddress", "publicIpAddress", "clientIpAddress", "interfaceIpAddress",
	}
	secretNames = []string{
		"password", "newPassword", "oldPassword", "pin", "secret", "clientSecret", "appSecret", "oauthClientSecret", "apiKey", "privateKey",
		"token", "accessToken", "refreshToken", "pageAccessToken", "userAccessToken", "deviceToken", "credential", "credentials", "credentialFields",
	}
)

// DefaultMasks are the shipped rules: they mask telephone numbers, addresses and secrets.
func DefaultMasks() ([]mask.Rule, error) {
	mappings, err := BuiltinMappings()
	if err != nil {
		return nil, err
	}
	// mediaSettings.email is how a queue handles e-mail, and no address.
	rules := []mask.Rule{{EntityTypes: []string{"Queue"}, Paths: []string{"mediaSettings"}, Action: mask.Keep}}
	for _, name := range slices.Sorted(maps.Keys(mappings.byType)) {
		m := mappings.byType[name]
		paths := slices.Concat(m.Secrets, m.Addresses)
		if len(paths) == 0 {
			continue
		}
		types := []string{name}
		rules = append(rules, mask.Rule{EntityTypes: types, Paths: paths, Action: mask.Mask})
		if slices.Contains(m.Addresses, "name") {
			rules = append(rules, mask.Rule{EntityTypes: types, Fields: []string{"entityName"}, Action: mask.Mask})
		}
	}
	names := slices.Concat(addressNames, secretNames)
	anywhere, ofContext := make([]string, len(names)), make([]string, len(names))
	for i, name := range names {
		anywhere[i], ofContext[i] = "**."+name, "context."+name
	}
	return append(rules,
		mask.Rule{Paths: anywhere, Action: mask.Mask},
		mask.Rule{Fields: append(ofContext, "remoteIp"), Action: mask.Mask},
	), nil
}
