// Makes the keyless signatures of this folder anew, with a Sigstore of its own: an authority, a log of
// certificates and a log of signatures that nobody else trusts.
//
//	go run . ../p256.sig .
//
// The statement is the one that model-signing itself made. What the log says comes from sigstore-go's
// virtual Sigstore, and sigstore-go's verifier must judge each bundle as its name says before it is written:
// the worker verifies with another library. Private keys are not kept, so every file changes.
package main

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"time"

	ct "github.com/google/certificate-transparency-go"
	cttls "github.com/google/certificate-transparency-go/tls"
	ctx509 "github.com/google/certificate-transparency-go/x509"
	ctx509util "github.com/google/certificate-transparency-go/x509util"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	prototrust "github.com/sigstore/protobuf-specs/gen/pb-go/trustroot/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/testing/ca"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const (
	subject     = "https://git.example.org/models/tiny/.ci/sign.yaml@refs/heads/main"
	issuer      = "https://issuer.example.org"
	payloadType = "application/vnd.in-toto+json"
	lifetime    = 10 * time.Minute
)

var (
	issuerOID   = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 1}
	issuerV2OID = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 8}
	sctListOID  = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 2}
)

// sigstore is one instance: the virtual one keeps the log of signatures, and the rest is ours, since its
// certificates are in no log and the worker's library insists on that.
type sigstore struct {
	log          *ca.VirtualSigstore
	root         *x509.Certificate
	intermediate *x509.Certificate
	key          *ecdsa.PrivateKey
	ctKey        *ecdsa.PrivateKey
}

func main() {
	recorded, folder := os.Args[1], os.Args[2]
	payload := statement(recorded)
	ours, other := newSigstore(), newSigstore()
	now := time.Now()

	signed := ours.bundle(payload, now, now.Add(time.Minute))
	expired := ours.bundle(payload, now, now.Add(lifetime+time.Hour))
	judge(ours, signed, "")
	judge(ours, expired, "expired")
	judge(other, signed, "another root")

	write(folder, "signed.sig", signed)
	write(folder, "expired.sig", expired)
	write(folder, "rsa.sig", ours.withRSA(signed, now))
	write(folder, "root.json", ours.trustedRoot())
	write(folder, "other.json", other.trustedRoot())
	index, err := json.MarshalIndent(map[string]string{"issuer": issuer, "subject": subject}, "", "  ")
	check(err)
	check(os.WriteFile(filepath.Join(folder, "index.json"), append(index, '\n'), 0o644))
}

func newSigstore() *sigstore {
	virtual, err := ca.NewVirtualSigstoreWithExistingRekorEntry()
	check(err)
	rootCert, rootKey, err := ca.GenerateRootCa()
	check(err)
	intermediate, key, err := ca.GenerateFulcioIntermediate(rootCert, rootKey)
	check(err)
	return &sigstore{virtual, rootCert, intermediate, key, newKey()}
}

// bundle signs as a person with a short certificate does, who has the log take it in at a time.
func (s *sigstore) bundle(payload []byte, from, logged time.Time) *protobundle.Bundle {
	key := newKey()
	leaf := s.certificate(key.Public(), from)
	digest := sha256.Sum256(dsse.PAE(payloadType, payload))
	signature, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	check(err)
	envelope := &dsse.Envelope{
		PayloadType: payloadType,
		Payload:     base64.StdEncoding.EncodeToString(payload),
		Signatures:  []dsse.Signature{{Sig: base64.StdEncoding.EncodeToString(signature)}},
	}
	entry := s.logged(leaf, envelope, signature, logged)
	return &protobundle.Bundle{
		MediaType: "application/vnd.dev.sigstore.bundle.v0.3+json",
		VerificationMaterial: &protobundle.VerificationMaterial{
			Content: &protobundle.VerificationMaterial_Certificate{
				Certificate: &protocommon.X509Certificate{RawBytes: leaf.Raw},
			},
			TlogEntries: []*protorekor.TransparencyLogEntry{entry},
		},
		Content: &protobundle.Bundle_DsseEnvelope{DsseEnvelope: &protodsse.Envelope{
			Payload:     payload,
			PayloadType: payloadType,
			Signatures:  []*protodsse.Signature{{Sig: signature}},
		}},
	}
}

// logged returns the log's word on a signature: that it is the first of two, with the proof, and when it came.
func (s *sigstore) logged(leaf *x509.Certificate, envelope *dsse.Envelope, signature []byte, at time.Time) *protorekor.TransparencyLogEntry {
	const place = 0 // on the left of what is there already; the virtual log itself says 1
	composed, err := s.log.GenerateTlogEntry(leaf, envelope, signature, at.Unix(), false)
	check(err)
	entry := composed.TransparencyLogEntry()
	proof, err := s.log.GetInclusionProof(entry.CanonicalizedBody)
	check(err)
	promise, err := s.log.RekorSignPayload(tlog.RekorPayload{
		Body:           base64.StdEncoding.EncodeToString(entry.CanonicalizedBody),
		IntegratedTime: at.Unix(),
		LogIndex:       place,
		LogID:          hex.EncodeToString(entry.LogId.KeyId),
	})
	check(err)
	return &protorekor.TransparencyLogEntry{
		LogIndex:          place,
		LogId:             entry.LogId,
		KindVersion:       &protorekor.KindVersion{Kind: "dsse", Version: "0.0.1"},
		IntegratedTime:    at.Unix(),
		InclusionPromise:  &protorekor.InclusionPromise{SignedEntryTimestamp: promise},
		CanonicalizedBody: entry.CanonicalizedBody,
		InclusionProof: &protorekor.InclusionProof{
			LogIndex:   place,
			RootHash:   fromHex(*proof.RootHash),
			TreeSize:   *proof.TreeSize,
			Hashes:     [][]byte{fromHex(proof.Hashes[0])},
			Checkpoint: &protorekor.Checkpoint{Envelope: *proof.Checkpoint},
		},
	}
}

// withRSA returns a bundle with a certificate of another kind of key, which trips a careless verifier.
func (s *sigstore) withRSA(signed *protobundle.Bundle, from time.Time) *protobundle.Bundle {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	check(err)
	leaf := s.certificate(key.Public(), from)
	return &protobundle.Bundle{
		MediaType: signed.MediaType,
		VerificationMaterial: &protobundle.VerificationMaterial{
			Content: &protobundle.VerificationMaterial_Certificate{
				Certificate: &protocommon.X509Certificate{RawBytes: leaf.Raw},
			},
			TlogEntries: signed.VerificationMaterial.TlogEntries,
		},
		Content: signed.Content,
	}
}

// certificate issues one with the word of the log of certificates in it.
func (s *sigstore) certificate(key crypto.PublicKey, from time.Time) *x509.Certificate {
	workflow, err := url.Parse(subject)
	check(err)
	inDER, err := asn1.MarshalWithParams(issuer, "utf8")
	check(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(from.UnixNano()),
		URIs:         []*url.URL{workflow},
		NotBefore:    from.Add(-time.Second),
		NotAfter:     from.Add(lifetime),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		ExtraExtensions: []pkix.Extension{
			{Id: issuerOID, Value: []byte(issuer)},
			{Id: issuerV2OID, Value: inDER},
		},
	}
	bare := s.issue(template, key)
	list := s.promise(bare, from)
	template.ExtraExtensions = append(template.ExtraExtensions, pkix.Extension{Id: sctListOID, Value: list})
	return s.issue(template, key)
}

func (s *sigstore) issue(template *x509.Certificate, key crypto.PublicKey) *x509.Certificate {
	der, err := x509.CreateCertificate(rand.Reader, template, s.intermediate, key, s.key)
	check(err)
	certificate, err := x509.ParseCertificate(der)
	check(err)
	return certificate
}

// promise returns the list of signed certificate timestamps as an extension holds it.
func (s *sigstore) promise(bare *x509.Certificate, at time.Time) []byte {
	sct := ct.SignedCertificateTimestamp{
		SCTVersion: ct.V1,
		LogID:      ct.LogID{KeyID: sha256.Sum256(der(s.ctKey.Public()))},
		Timestamp:  uint64(at.UnixMilli()),
	}
	entry := ct.LogEntry{Leaf: ct.MerkleTreeLeaf{
		Version:  ct.V1,
		LeafType: ct.TimestampedEntryLeafType,
		TimestampedEntry: &ct.TimestampedEntry{
			Timestamp: sct.Timestamp,
			EntryType: ct.PrecertLogEntryType,
			PrecertEntry: &ct.PreCert{
				IssuerKeyHash:  sha256.Sum256(s.intermediate.RawSubjectPublicKeyInfo),
				TBSCertificate: bare.RawTBSCertificate,
			},
		},
	}}
	message, err := ct.SerializeSCTSignatureInput(sct, entry)
	check(err)
	signature, err := cttls.CreateSignature(*s.ctKey, cttls.SHA256, message)
	check(err)
	sct.Signature = ct.DigitallySigned(signature)
	list, err := ctx509util.MarshalSCTsIntoSCTList([]*ct.SignedCertificateTimestamp{&sct})
	check(err)
	return inOctets(list)
}

func inOctets(list *ctx509.SignedCertificateTimestampList) []byte {
	raw, err := cttls.Marshal(*list)
	check(err)
	value, err := asn1.Marshal(raw)
	check(err)
	return value
}

func (s *sigstore) trustedRoot() *prototrust.TrustedRoot {
	long := &protocommon.TimeRange{Start: timestamppb.New(time.Now().Add(-5 * time.Hour))}
	trusted := &prototrust.TrustedRoot{
		MediaType: "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
		CertificateAuthorities: []*prototrust.CertificateAuthority{{
			Subject: &protocommon.DistinguishedName{Organization: "example", CommonName: "example"},
			Uri:     "https://authority.example.org",
			CertChain: &protocommon.X509CertificateChain{Certificates: []*protocommon.X509Certificate{
				{RawBytes: s.intermediate.Raw}, {RawBytes: s.root.Raw},
			}},
			ValidFor: long,
		}},
		Ctlogs: []*prototrust.TransparencyLogInstance{logOf("https://certificates.example.org", s.ctKey.Public(), long)},
	}
	for _, one := range s.log.RekorLogs() {
		trusted.Tlogs = append(trusted.Tlogs, logOf(one.BaseURL, one.PublicKey, long))
	}
	return trusted
}

func logOf(address string, key crypto.PublicKey, valid *protocommon.TimeRange) *prototrust.TransparencyLogInstance {
	raw := der(key)
	id := sha256.Sum256(raw)
	return &prototrust.TransparencyLogInstance{
		BaseUrl:       address,
		HashAlgorithm: protocommon.HashAlgorithm_SHA2_256,
		PublicKey: &protocommon.PublicKey{
			RawBytes:   raw,
			KeyDetails: protocommon.PublicKeyDetails_PKIX_ECDSA_P256_SHA_256,
			ValidFor:   valid,
		},
		LogId: &protocommon.LogId{KeyId: id[:]},
	}
}

// judge ends the program unless sigstore-go takes the bundle, or refuses it where a flaw is named.
func judge(s *sigstore, made *protobundle.Bundle, flaw string) {
	trusted, err := root.NewTrustedRootFromProtobuf(s.trustedRoot())
	check(err)
	verifier, err := verify.NewVerifier(trusted, verify.WithSignedCertificateTimestamps(1),
		verify.WithTransparencyLog(1), verify.WithIntegratedTimestamps(1))
	check(err)
	entity, err := bundle.NewBundle(made)
	check(err)
	identity, err := verify.NewShortCertificateIdentity(issuer, "", subject, "")
	check(err)
	_, err = verifier.Verify(entity, verify.NewPolicy(verify.WithoutArtifactUnsafe(), verify.WithCertificateIdentity(identity)))
	fmt.Printf("%-14s %v\n", flaw, err)
	if (err == nil) != (flaw == "") {
		log.Fatalf("sigstore-go on the bundle with the flaw %q: %v", flaw, err)
	}
}

// statement returns what a recorded bundle has signed.
func statement(path string) []byte {
	text, err := os.ReadFile(path)
	check(err)
	var recorded struct {
		DsseEnvelope struct{ Payload []byte }
	}
	check(json.Unmarshal(text, &recorded))
	return recorded.DsseEnvelope.Payload
}

func write(folder, name string, message proto.Message) {
	// The worker's library misses a zero that is left out.
	text, err := protojson.MarshalOptions{EmitDefaultValues: true}.Marshal(message)
	check(err)
	// protojson varies its blanks on purpose.
	var compact bytes.Buffer
	check(json.Compact(&compact, text))
	compact.WriteByte('\n')
	check(os.WriteFile(filepath.Join(folder, name), compact.Bytes(), 0o644))
}

func newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	return key
}

func fromHex(text string) []byte {
	raw, err := hex.DecodeString(text)
	check(err)
	return raw
}

func der(key crypto.PublicKey) []byte {
	raw, err := x509.MarshalPKIXPublicKey(key)
	check(err)
	return raw
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
