package tlsfile

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/youmark/pkcs8"
	"software.sslmate.com/src/go-pkcs12"
)

var (
	errNoCertificate = errors.New("there is no certificate in it")
	errNoKey         = errors.New("there is no private key in it")
	errUnfinished    = errors.New("it ends within a PEM block")
	errJKS           = errors.New("it is a Java keystore (JKS)")
	errNoPassword    = errors.New("is encrypted, which is not possible here")
)

type kind int

const (
	kindPEM kind = iota // or what is none of the others
	kindJKS
	kindPKCS12
	kindDER
)

// kindOf goes by the content: since Java 9 a file named .jks is PKCS#12 (JEP 229). The name
// counts where a PKCS#12 file is cut off.
func kindOf(path string, content []byte) kind {
	// Magic numbers of sun.security.provider.JavaKeyStore and com.sun.crypto.provider.JceKeyStore.
	if bytes.HasPrefix(content, []byte{0xfe, 0xed, 0xfe, 0xed}) || bytes.HasPrefix(content, []byte{0xce, 0xce, 0xce, 0xce}) {
		return kindJKS
	}
	if bytes.Contains(content, []byte("-----BEGIN ")) {
		return kindPEM
	}
	var outer asn1.RawValue
	_, err := asn1.Unmarshal(content, &outer)
	if err == nil && bytes.HasPrefix(outer.Bytes, []byte{asn1.TagInteger, 1, 3}) { // RFC 7292, 4: PFX version v3
		return kindPKCS12
	}
	if extension := strings.ToLower(filepath.Ext(path)); extension == ".p12" || extension == ".pfx" {
		return kindPKCS12
	}
	if err == nil && outer.Tag == asn1.TagSequence && outer.IsCompound {
		return kindDER
	}
	return kindPEM
}

// split returns the blocks of a PEM file. One that is cut off is an error: pem.Decode would
// pass over it, and a file that is being written would count as a shorter one.
func split(content []byte) ([]*pem.Block, error) {
	var blocks []*pem.Block
	for {
		block, rest := pem.Decode(content)
		if block == nil {
			break
		}
		blocks, content = append(blocks, block), rest
	}
	if bytes.Contains(content, []byte("-----BEGIN")) {
		return nil, errUnfinished
	}
	return blocks, nil
}

// decodeKey returns the first private key of a PEM file as PEM that is not encrypted.
func (f *Files) decodeKey(content []byte) ([]byte, error) {
	blocks, err := split(content)
	if err != nil {
		return nil, err
	}
	for _, block := range blocks {
		switch {
		case !strings.HasSuffix(block.Type, "PRIVATE KEY"):
		case block.Type == "ENCRYPTED PRIVATE KEY": // RFC 7468, 11
			return f.decrypt(func(password []byte) ([]byte, error) {
				key, err := pkcs8.ParsePKCS8PrivateKey(block.Bytes, password)
				if err != nil {
					return nil, err
				}
				der, err := x509.MarshalPKCS8PrivateKey(key)
				return encode("PRIVATE KEY", der), err
			})
		//lint:ignore SA1019 that this encryption is weak is no reason to refuse a key that has it
		case x509.IsEncryptedPEMBlock(block):
			return f.decrypt(func(password []byte) ([]byte, error) {
				//lint:ignore SA1019 as above
				der, err := x509.DecryptPEMBlock(block, password)
				if err == nil && !isKey(der) { // one wrong password in 256 is not noticed by itself
					err = x509.IncorrectPasswordError
				}
				return encode(block.Type, der), err
			})
		default:
			return encode(block.Type, block.Bytes), nil
		}
	}
	return nil, errNoKey
}

// isKey reports whether it is one of the forms that tls.X509KeyPair takes.
func isKey(der []byte) bool {
	_, pkcs1 := x509.ParsePKCS1PrivateKey(der)
	_, ec := x509.ParseECPrivateKey(der)
	_, pkcs8 := x509.ParsePKCS8PrivateKey(der)
	return pkcs1 == nil || ec == nil || pkcs8 == nil
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func (f *Files) decrypt(with func(password []byte) ([]byte, error)) ([]byte, error) {
	if f.Password == nil {
		return nil, errNoPassword
	}
	password := f.password()
	if password == "" {
		return nil, fmt.Errorf("the key is encrypted, and %sKEY_PASSWORD is not set", f.Prefix)
	}
	key, err := with([]byte(password))
	if err != nil {
		return nil, fmt.Errorf("the key cannot be decrypted (%w): is %sKEY_PASSWORD its password?", err, f.Prefix)
	}
	return key, nil
}

func (f *Files) password() string {
	if f.Password == nil {
		return ""
	}
	return f.Password()
}

// decodePKCS12 returns the key of a PKCS#12 file with its certificate first and the others
// after it.
func (f *Files) decodePKCS12(content []byte) (*tls.Certificate, error) {
	key, leaf, others, err := pkcs12.DecodeChain(content, f.password())
	switch {
	case errors.Is(err, pkcs12.ErrIncorrectPassword) && f.Password == nil:
		return nil, errNoPassword
	case errors.Is(err, pkcs12.ErrIncorrectPassword) && f.password() == "":
		return nil, fmt.Errorf("it is encrypted, and %sKEY_PASSWORD is not set", f.Prefix)
	case errors.Is(err, pkcs12.ErrIncorrectPassword):
		return nil, fmt.Errorf("it cannot be decrypted: is %sKEY_PASSWORD its password?", f.Prefix)
	case err != nil:
		return nil, err
	}
	pair := &tls.Certificate{PrivateKey: key, Leaf: leaf, Certificate: [][]byte{leaf.Raw}}
	for _, c := range others {
		pair.Certificate = append(pair.Certificate, c.Raw)
	}
	public, ok := leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	signer, can := key.(crypto.Signer)
	if !ok || !can || !public.Equal(signer.Public()) {
		return nil, errors.New("the key in it is not that of its first certificate")
	}
	return pair, nil
}
