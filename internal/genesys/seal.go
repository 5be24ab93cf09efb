package genesys

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
)

// A refresh token lies in the offsets topic as
//
//	version (1 byte) · salt (16) · nonce (12) · AES-256-GCM(token)
//
// under a key that HKDF-SHA-256 derives from the client secret and the salt.
// The client id is authenticated with it: a token of another client is none.

const (
	sealVersion = 1
	saltBytes   = 16
	keyBytes    = 32
	keyPurpose  = "genesys-audit-connector refresh token"
)

var errNotSealed = errors.New("not a token sealed under this client id and secret")

func sealer(client credentials, salt []byte) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, []byte(client.secret), salt, keyPurpose, keyBytes)
	if err != nil {
		return nil, fmt.Errorf("derive a key: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("cipher: %w", err)
	}
	return cipher.NewGCM(block)
}

// seal encrypts a token.
func seal(token string, client credentials) ([]byte, error) {
	salt := make([]byte, saltBytes)
	_, _ = rand.Read(salt) // never fails (crypto/rand)
	aead, err := sealer(client, salt)
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, aead.NonceSize())
	_, _ = rand.Read(nonce)
	out := append([]byte{sealVersion}, salt...)
	out = append(out, nonce...)
	return aead.Seal(out, nonce, []byte(token), []byte(client.id)), nil
}

// open decrypts what seal made.
func open(sealed []byte, client credentials) (string, error) {
	if len(sealed) < 1+saltBytes || sealed[0] != sealVersion {
		return "", errNotSealed
	}
	aead, err := sealer(client, sealed[1:1+saltBytes])
	if err != nil {
		return "", err
	}
	rest := sealed[1+saltBytes:]
	if len(rest) < aead.NonceSize() {
		return "", errNotSealed
	}
	token, err := aead.Open(nil, rest[:aead.NonceSize()], rest[aead.NonceSize():], []byte(client.id))
	if err != nil {
		return "", errNotSealed
	}
	return string(token), nil
}
