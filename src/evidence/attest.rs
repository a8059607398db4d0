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
use serde::{Deserialize, Serialize};

use crate::event::{Input, InputRole};
use crate::json::Digest;

use super::MANIFEST;
use super::summary::{Outcome, Summary, word};

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

/// A DSSE envelope.
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
    pub configuration: Vec<BTreeMap<&'static str, String>>,
    /// The runs that are as their tasks make them.
    pub passed_tests: Vec<String>,
    /// The others.
    pub failed_tests: Vec<String>,
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
            decisions: decisions.map(|(key, count)| (word(key.0, key.1), *count)).collect(),
        },
    })
}

/// The statement about a check, as the bytes that are signed.
pub fn test_statement(subject: Vec<Subject>, predicate: TestPredicate) -> Vec<u8> {
    encode(&Statement { kind: STATEMENT_TYPE, subject, predicate_type: TEST_PREDICATE, predicate })
}

/// A struct of texts and numbers is always written.
fn encode(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

/// Signs a statement: the envelope's bytes.
pub fn sign(statement: &[u8], key: &SigningKey) -> Vec<u8> {
    let signature = key.sign(&pre_authentication(statement));
    envelope(statement, key_id(&key.verifying_key()), &signature)
}

fn envelope(statement: &[u8], keyid: String, signature: &Signature) -> Vec<u8> {
    let sig = Base64::encode_string(&signature.to_bytes());
    let mut bytes = encode(&Envelope {
        payload_type: PAYLOAD_TYPE.to_owned(),
        payload: Base64::encode_string(statement),
        signatures: vec![EnvelopeSignature { keyid, sig }],
    });
    bytes.push(b'\n');
    bytes
}

/// Why an envelope does not vouch for a statement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttestError {
    /// It is no envelope of ours.
    #[error("{0}")]
    Malformed(String),
    /// It says something else than the run, or the signature is not the key's.
    #[error("{0}")]
    Wrong(String),
    /// It names another key.
    #[error("it is signed with the key {signed}, and {given} was given")]
    OtherKey {
        /// The key that it names.
        signed: String,
        /// The key that was given.
        given: String,
    },
}

/// Checks that an envelope is one for this statement; with a key, that the key signed it.
///
/// # Errors
/// [`AttestError`].
pub fn check(
    bytes: &[u8],
    statement: &[u8],
    key: Option<&VerifyingKey>,
) -> Result<(), AttestError> {
    let malformed = |what: String| AttestError::Malformed(what);
    let read: Envelope = serde_json::from_slice(bytes)
        .map_err(|error| malformed(format!("it is no DSSE envelope: {error}")))?;
    let [given] = read.signatures.as_slice() else {
        let count = read.signatures.len();
        return Err(malformed(format!("it holds {count} signatures, and one is due")));
    };
    let mut raw = [0_u8; 64];
    let decoded = Base64::decode(&given.sig, &mut raw).map(<[u8]>::len);
    if decoded != Ok(raw.len()) {
        return Err(malformed("the signature is not 64 bytes in base64".to_owned()));
    }
    let signature = Signature::from_bytes(&raw);
    // Written again it must be the same bytes: then there is one way to write it, and a changed
    // byte is either in the signature, the key's name or the payload.
    if envelope(statement, given.keyid.clone(), &signature) != bytes {
        let due = Base64::encode_string(statement);
        let what = if read.payload == due {
            "it is not written as the program writes it"
        } else {
            "its payload is not the statement that the ledger makes"
        };
        return Err(AttestError::Wrong(what.to_owned()));
    }
    let Some(key) = key else { return Ok(()) };
    if given.keyid != key_id(key) {
        return Err(AttestError::OtherKey { signed: given.keyid.clone(), given: key_id(key) });
    }
    key.verify_strict(&pre_authentication(statement), &signature)
        .map_err(|_| AttestError::Wrong("the signature is not the key's".to_owned()))
}

/// What DSSE signs: the type and the statement, each with its length.
fn pre_authentication(statement: &[u8]) -> Vec<u8> {
    let mut bytes =
        format!("DSSEv1 {} {PAYLOAD_TYPE} {} ", PAYLOAD_TYPE.len(), statement.len()).into_bytes();
    bytes.extend_from_slice(statement);
    bytes
}

/// A key's name: SHA-256 of the 32 bytes of the public key.
pub fn key_id(key: &VerifyingKey) -> String {
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
    let public = key.verifying_key().to_public_key_pem(LineEnding::LF);
    let public = public.map_err(|error| error.to_string())?;
    Ok(KeyPair { private: private.to_string(), public })
}

/// Reads a private key.
///
/// # Errors
/// Why it is none, in words.
pub fn signing_key(pem: &str) -> Result<SigningKey, String> {
    SigningKey::from_pkcs8_pem(pem)
        .map_err(|error| format!("it is no Ed25519 private key in PKCS#8 PEM: {error}"))
}

/// Reads a public key.
///
/// # Errors
/// Why it is none, in words.
pub fn verifying_key(pem: &str) -> Result<VerifyingKey, String> {
    VerifyingKey::from_public_key_pem(pem)
        .map_err(|error| format!("it is no Ed25519 public key in PEM: {error}"))
}
