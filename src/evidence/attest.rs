//! `attestation.intoto.json`: somebody's signature under a run, in the form that supply-chain tools
//! read: an in-toto Statement v1 in a DSSE envelope, signed with Ed25519.
//!
//! The statement is a function of the ledger, so that it can be recomputed like everything else:
//! a signature says who vouches for the bytes, never that the bytes are right.

use std::collections::BTreeMap;

use base64ct::{Base64, Encoding};
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{
    DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey, KeypairBytes,
};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::{Input, InputRole, Ruling};
use crate::json::{self, Digest};

use super::MANIFEST;
use super::summary::{Outcome, Summary};
use super::text::shortened;

/// The type of what is signed.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
/// The type of an in-toto statement.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// What a signature under a run says: our own predicate.
pub const RUN_PREDICATE: &str = "https://gatedrun.dev/attestation/run/v1";
/// What a signature under a check says: in-toto's predicate for results of tests.
pub const TEST_PREDICATE: &str = "https://in-toto.io/attestation/test-result/v0.1";

/// The largest envelope that is read, in bytes.
pub const ENVELOPE_BYTES_MAX: u64 = 1024 * 1024;

/// The largest file with a key that is read, in bytes.
pub const KEY_BYTES_MAX: u64 = 64 * 1024;

/// The most signatures that an envelope may have.
pub const SIGNATURES_MAX: usize = 64;

/// How much of a key id is printed; ours have 64 characters.
const KEY_ID_CHARS_MAX: usize = 80;

/// A DSSE envelope, with its signatures in the order of their key ids.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    #[serde(rename = "payloadType")]
    payload_type: String,
    payload: String,
    signatures: Vec<EnvelopeSignature>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EnvelopeSignature {
    keyid: String,
    sig: String,
}

#[derive(Debug, Serialize)]
struct Statement<P> {
    #[serde(rename = "_type")]
    kind: &'static str,
    subject: Vec<Subject>,
    #[serde(rename = "predicateType")]
    predicate_type: &'static str,
    predicate: P,
}

/// What a statement is about.
#[derive(Debug, Serialize)]
pub struct Subject {
    /// The file, as its reader finds it.
    pub name: String,
    digest: BTreeMap<&'static str, Digest>,
}

impl Subject {
    /// A file with this SHA-256.
    pub fn new(name: impl Into<String>, sha256: Digest) -> Self {
        Self { name: name.into(), digest: BTreeMap::from([("sha256", sha256)]) }
    }
}

/// What is said of a run.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct RunPredicate<'a> {
    run_id: &'a str,
    task: &'a str,
    agent_version: &'a str,
    policy: Option<&'a Input>,
    outcome: Option<Outcome>,
    decisions: BTreeMap<String, u64>,
}

/// What is said of a check: the runs that passed it and those that did not.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TestPredicate {
    /// `PASSED` or `FAILED`.
    pub result: &'static str,
    /// What it was checked with.
    pub configuration: Vec<Resource>,
    /// The runs that are as their tasks make them.
    pub passed_tests: Vec<String>,
    /// The others.
    pub failed_tests: Vec<String>,
}

/// An in-toto ResourceDescriptor, as far as it is needed here.
#[derive(Debug, Serialize)]
pub struct Resource {
    name: &'static str,
    uri: String,
    annotations: BTreeMap<&'static str, &'static str>,
}

impl Resource {
    /// This program.
    pub fn program() -> Self {
        let (name, version) = (env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
        // A descriptor must have a URI, a digest or content: a package URL, the form for programs.
        let uri = format!("pkg:generic/{name}@{version}");
        Self { name, uri, annotations: BTreeMap::from([("version", version)]) }
    }
}

/// The statement about a run, as the bytes that are signed.
pub fn run_statement(summary: &Summary, manifest: &[u8]) -> Vec<u8> {
    let Some(started) = &summary.started else { return Vec::new() };
    let decisions = summary.decisions.iter();
    encode(&Statement {
        kind: STATEMENT_TYPE,
        subject: vec![Subject::new(MANIFEST, Digest::of(manifest))],
        predicate_type: RUN_PREDICATE,
        predicate: RunPredicate {
            run_id: &started.run_id,
            task: &started.task,
            agent_version: &started.agent_version,
            policy: started.inputs.iter().find(|input| input.role == InputRole::Policy),
            outcome: summary.outcome(),
            decisions: decisions
                .map(|(key, count)| (Ruling::of(key.0, key.1).to_string(), *count))
                .collect(),
        },
    })
}

/// The statement about a check, as the bytes that are signed.
pub fn test_statement(subject: Vec<Subject>, predicate: TestPredicate) -> Vec<u8> {
    encode(&Statement { kind: STATEMENT_TYPE, subject, predicate_type: TEST_PREDICATE, predicate })
}

/// Whether these bytes are an envelope with a statement about a check of this program, whoever signed it.
pub fn is_test_envelope(bytes: &[u8]) -> bool {
    let payload = serde_json::from_slice::<Envelope>(bytes)
        .ok()
        .and_then(|envelope| Base64::decode_vec(&envelope.payload).ok());
    let statement = payload
        .and_then(|payload| serde_json::from_slice::<serde_json::Value>(&payload).ok())
        .unwrap_or_default();
    let is =
        |pointer: &str, due: &str| statement.pointer(pointer).is_some_and(|found| found == due);
    is("/predicateType", TEST_PREDICATE)
        && is("/predicate/configuration/0/name", env!("CARGO_PKG_NAME"))
}

fn encode(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    json::append(&mut bytes, value);
    bytes
}

/// Signs a statement: the bytes of an envelope with this one signature.
pub fn sign(statement: &[u8], key: &SigningKey) -> Vec<u8> {
    let (envelope, _) = Envelope::unsigned(statement).signed(key);
    envelope.bytes()
}

impl Envelope {
    /// An envelope that nobody has signed yet.
    pub fn unsigned(statement: &[u8]) -> Self {
        Self {
            payload_type: PAYLOAD_TYPE.to_owned(),
            payload: Base64::encode_string(statement),
            signatures: Vec::new(),
        }
    }

    /// An envelope for this statement with the signatures of an older one, and in words which of
    /// those were dropped and why. Signatures are kept unchecked where their keys are not available.
    pub fn continued(bytes: &[u8], statement: &[u8]) -> (Self, Vec<String>) {
        let mut envelope = Self::unsigned(statement);
        let Ok(old) = serde_json::from_slice::<Self>(bytes) else {
            let what = "the file that was there was not a DSSE envelope, and is replaced";
            return (envelope, vec![what.to_owned()]);
        };
        if old.payload_type == envelope.payload_type && old.payload == envelope.payload {
            let (kept, broken): (Vec<_>, Vec<_>) =
                old.signatures.into_iter().partition(|one| one.defect().is_none());
            let dropped = broken.iter().filter_map(|one| {
                Some(format!("dropped the signature of the key {}: {}", one.name(), one.defect()?))
            });
            let dropped = dropped.collect();
            envelope.signatures = kept;
            envelope.order();
            return (envelope, dropped);
        }
        let dropped = old.signatures.iter().map(|one| {
            format!("dropped the signature of the key {}: the run has changed since", one.name())
        });
        (envelope, dropped.collect())
    }

    /// The envelope with the signature of this key, and in words which signatures it replaces:
    /// those that name this key, or are this key's and name another.
    #[must_use]
    pub fn signed(mut self, key: &SigningKey) -> (Self, Vec<String>) {
        let statement = Base64::decode_vec(&self.payload).unwrap_or_default();
        let text = pre_authentication(&statement);
        let (public, keyid) = (key.verifying_key(), key_id(&key.verifying_key()));
        let sig = Base64::encode_string(&key.sign(&text).to_bytes());
        let mut replaced = Vec::new();
        self.signatures.retain(|one| {
            let (is_own, names_it) = (one.is_of(&public, &text), names(&one.keyid, &public));
            let name = one.name();
            match names_it {
                true if !is_own => replaced.push(format!(
                    "replaced a signature that named key {name} but was not made with it"
                )),
                true if one.keyid != keyid => replaced.push(format!(
                    "replaced this key's own signature, which named it {name}, as earlier versions did"
                )),
                false if is_own => replaced
                    .push(format!("replaced this key's own signature, which named the key {name}")),
                _ => {}
            }
            !names_it && !is_own
        });
        self.signatures.push(EnvelopeSignature { keyid, sig });
        self.order();
        (self, replaced)
    }

    /// The bytes to be written.
    ///
    /// # Errors
    /// That it has more signatures than are read.
    pub fn encode(&self) -> Result<Vec<u8>, String> {
        match self.signatures.len() {
            0..=SIGNATURES_MAX => Ok(self.bytes()),
            count => Err(format!("{count} signatures, and the limit is {SIGNATURES_MAX}")),
        }
    }

    /// The keys that it names, in order.
    pub fn key_ids(&self) -> impl Iterator<Item = &str> {
        self.signatures.iter().map(|one| one.keyid.as_str())
    }

    /// In the order of key ids, one signature each, so that there is one way to write it.
    fn order(&mut self) {
        self.signatures.sort_by(|a, b| a.keyid.cmp(&b.keyid));
        self.signatures.dedup_by(|a, b| a.keyid == b.keyid);
    }

    fn is_in_order(&self) -> bool {
        let ids = self.key_ids().zip(self.key_ids().skip(1));
        ids.into_iter().all(|(a, b)| a < b)
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = encode(self);
        bytes.push(b'\n');
        bytes
    }
}

impl EnvelopeSignature {
    fn decoded(&self) -> Option<Signature> {
        let mut raw = [0_u8; 64];
        let length = Base64::decode(&self.sig, &mut raw).ok()?.len();
        (length == raw.len()).then(|| Signature::from_bytes(&raw))
    }

    /// Why nobody can have signed so; none where somebody can.
    fn defect(&self) -> Option<&'static str> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if self.decoded().is_none() {
            Some("not 64 bytes in base64")
        } else if self.keyid.len() != 64 || !self.keyid.bytes().all(is_digit) {
            Some("its keyid is not 64 lower-case hexadecimal digits")
        } else {
            None
        }
    }

    /// Whether it is this key's, whatever key it names.
    fn is_of(&self, key: &VerifyingKey, text: &[u8]) -> bool {
        self.decoded().is_some_and(|signature| key.verify_strict(text, &signature).is_ok())
    }

    /// The key that it names, for a message.
    fn name(&self) -> String {
        shortened(&self.keyid, KEY_ID_CHARS_MAX).into_owned()
    }
}

/// Why an envelope does not vouch for a statement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttestError {
    /// Not an envelope of ours.
    #[error("{0}")]
    Malformed(String),
    /// Its statement differs from the run's, or a signature is not that of the key that it names.
    #[error("{0}")]
    Wrong(String),
}

/// One signature of an envelope.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize)]
pub struct Signed {
    /// The key that it names; of one that was verified, the key's id today.
    pub keyid: String,
    /// Whether it was verified with a key that was given; otherwise none of them is the key that it
    /// names, and nothing is known of it.
    pub verified: bool,
}

/// Checks that an envelope is one for this statement, and each signature whose key is among `keys`.
/// What is signed does not hold the key ids, so that each key is tried whatever a signature names.
///
/// # Errors
/// [`AttestError`].
pub fn check(
    bytes: &[u8],
    statement: &[u8],
    keys: &[VerifyingKey],
) -> Result<Vec<Signed>, AttestError> {
    let malformed = |what: String| AttestError::Malformed(what);
    let wrong = |what: String| AttestError::Wrong(what);
    let not_one = |what: &str| malformed(format!("not a DSSE envelope: {what}"));
    let value = json::parse(bytes).map_err(|error| not_one(&error.to_string()))?;
    let read: Envelope = json::typed(value).map_err(|misfit| not_one(&misfit.what))?;
    let count = read.signatures.len();
    if !(1..=SIGNATURES_MAX).contains(&count) {
        let what = format!("{count} signatures found, expected 1 to {SIGNATURES_MAX}");
        return Err(malformed(what));
    }
    if read.signatures.iter().any(|one| one.decoded().is_none()) {
        return Err(malformed("a signature is not 64 bytes in base64".to_owned()));
    }
    // Written again it must be the same bytes: then there is one way to write it, and a changed
    // byte is either in a signature, a key's name or the payload.
    let expected = Envelope { signatures: read.signatures, ..Envelope::unsigned(statement) };
    if !expected.is_in_order() {
        return Err(wrong("its signatures are not in the order of their key ids".to_owned()));
    }
    if expected.bytes() != bytes {
        let what = if read.payload == expected.payload {
            "the JSON says the same, but is not written as `gatedrun sign` writes it: other white space, or another order of keys"
        } else {
            "its payload is not the statement that the ledger makes"
        };
        return Err(wrong(what.to_owned()));
    }
    // No key has another id, so that it needs no key to tell.
    if let Some(one) = expected.signatures.iter().find(|one| one.defect().is_some()) {
        let (name, what) = (one.name(), one.defect().unwrap_or_default());
        return Err(wrong(format!("a signature names the key {name:?}: {what}")));
    }
    let text = pre_authentication(statement);
    let known = keys.iter().map(|key| (key_id(key), key)).collect::<Vec<_>>();
    let checked = expected.signatures.iter().map(|one| {
        let (keyid, name) = (one.keyid.clone(), one.name());
        match known.iter().find(|(_, key)| one.is_of(key, &text)) {
            Some((id, key)) if names(&keyid, key) => {
                Ok(Signed { keyid: id.clone(), verified: true })
            }
            Some((id, _)) => Err(wrong(format!(
                "a signature of the key {id} names the key {name}: its keyid was changed"
            ))),
            None if known.iter().any(|(_, key)| names(&keyid, key)) => {
                Err(wrong(format!("the signature names key {name} but was not made with it")))
            }
            None => Ok(Signed { keyid, verified: false }),
        }
    });
    checked.collect()
}

/// What DSSE signs: the type and the statement, each with its length.
fn pre_authentication(statement: &[u8]) -> Vec<u8> {
    let mut bytes =
        format!("DSSEv1 {} {PAYLOAD_TYPE} {} ", PAYLOAD_TYPE.len(), statement.len()).into_bytes();
    bytes.extend_from_slice(statement);
    bytes
}

/// A key's id, as securesystemslib and in-toto compute it: SHA-256 of the key's canonical JSON, so
/// that their readers find a signature without being told its key id.
pub fn key_id(key: &VerifyingKey) -> String {
    let public = base16ct::lower::encode_string(key.as_bytes());
    Digest::of_value(&serde_json::json!({
        "keytype": "ed25519",
        "keyval": {"public": public},
        "scheme": "ed25519",
    }))
    .to_string()
}

/// Whether an id names this key: its own, or the one that earlier versions gave it.
fn names(id: &str, key: &VerifyingKey) -> bool {
    id == key_id(key) || id == old_key_id(key)
}

/// The id that earlier versions gave a key: SHA-256 of its 32 bytes.
fn old_key_id(key: &VerifyingKey) -> String {
    Digest::of(key.as_bytes()).to_string()
}

/// A pair of keys, as PEM.
#[derive(Clone)]
pub struct KeyPair {
    /// PKCS#8.
    pub private: String,
    /// SPKI.
    pub public: String,
}

/// A new pair of keys from 32 random bytes.
///
/// # Errors
/// The encoder's.
pub fn generate(seed: &[u8; 32]) -> Result<KeyPair, String> {
    let key = SigningKey::from_bytes(seed);
    // Without the public half, which is the form that every reader of PKCS#8 knows.
    let pair = KeypairBytes { secret_key: *seed, public_key: None };
    let private = pair.to_pkcs8_pem(LineEnding::LF).map_err(|error| error.to_string())?;
    Ok(KeyPair { private: private.to_string(), public: public_pem(&key)? })
}

/// The public half of a private key, in PEM.
///
/// # Errors
/// The encoder's.
pub fn public_pem(key: &SigningKey) -> Result<String, String> {
    let pem = key.verifying_key().to_public_key_pem(LineEnding::LF);
    pem.map_err(|error| error.to_string())
}

/// Reads a private key.
///
/// # Errors
/// Why it is none, in words.
pub fn signing_key(pem: &str) -> Result<SigningKey, String> {
    // The parser speaks of ASN.1, which helps nobody whose file is not a key.
    SigningKey::from_pkcs8_pem(pem)
        .map_err(|_| "not an Ed25519 private key in PEM (PKCS#8, \"BEGIN PRIVATE KEY\")".to_owned())
}

/// Reads a public key.
///
/// # Errors
/// Why it is none, in words.
pub fn verifying_key(pem: &str) -> Result<VerifyingKey, String> {
    VerifyingKey::from_public_key_pem(pem).map_err(|_| {
        let what = match pem.contains("PRIVATE KEY-----") {
            true => "this is a private key; name the public one, which `gatedrun keygen` wrote beside it as NAME.pub.pem",
            false => "not an Ed25519 public key in PEM (\"BEGIN PUBLIC KEY\"); name one, such as the NAME.pub.pem that `gatedrun keygen` writes",
        };
        what.to_owned()
    })
}
