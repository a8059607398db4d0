//! Who has signed a run. An envelope that is wrong is a defect of the evidence; that there is none,
//! or that nobody gave its key, is not, unless a signature is required.

use std::io;

use serde::Deserialize;

use super::super::ATTESTATION;
use super::super::attest::{self, AttestError, ENVELOPE_BYTES_MAX};
use super::ledger::Ledger;
use super::{Cause, Check, SignatureState, Verdict};

impl Check<'_> {
    /// What is known of the signature, and the keys that it names.
    pub(super) fn signature(&mut self, ledger: &Ledger) -> (SignatureState, Vec<String>) {
        let bytes = match self.read(ATTESTATION, ENVELOPE_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.required("the run is not signed, and a signature is required");
                return (SignatureState::None, Vec::new());
            }
            Err(error) => {
                self.unreadable(ATTESTATION, &error);
                return (SignatureState::Invalid, Vec::new());
            }
        };
        let recorded = &ledger.recorded;
        let statement = attest::run_statement(&recorded.summary, &recorded.manifest);
        let state = match (attest::check(&bytes, &statement, self.asked.key), self.asked.key) {
            (Ok(()), Some(_)) => SignatureState::Valid,
            (Ok(()), None) => {
                self.required("the signature was not checked; give the signer's key with --key");
                SignatureState::Unchecked
            }
            (Err(AttestError::OtherKey { signed, given }), key) => {
                // With its right name the signature is this key's: then it is the name that is wrong.
                let renamed = String::from_utf8_lossy(&bytes).replace(&signed, &given);
                if attest::check(renamed.as_bytes(), &statement, key).is_ok() {
                    let what = format!("signed with the key {given}, and it names {signed}");
                    self.add(Verdict::Tampered, Cause::Signature, ATTESTATION, what);
                    return (SignatureState::Invalid, vec![signed]);
                }
                self.required(&AttestError::OtherKey { signed, given }.to_string());
                SignatureState::OtherKey
            }
            (Err(AttestError::Malformed(what)), _) => {
                self.add(Verdict::Malformed, Cause::Signature, ATTESTATION, what);
                SignatureState::Invalid
            }
            (Err(AttestError::Wrong(what)), _) => {
                self.add(Verdict::Tampered, Cause::Signature, ATTESTATION, what);
                SignatureState::Invalid
            }
        };
        (state, signers(&bytes))
    }

    fn required(&mut self, what: &str) {
        if self.asked.signature_required {
            self.add(Verdict::Unconfirmed, Cause::Signature, ATTESTATION, what);
        }
    }
}

/// The keys that an envelope names.
fn signers(envelope: &[u8]) -> Vec<String> {
    #[derive(Deserialize)]
    struct Envelope {
        signatures: Vec<Signature>,
    }
    #[derive(Deserialize)]
    struct Signature {
        keyid: String,
    }
    let read = serde_json::from_slice(envelope).map(|read: Envelope| read.signatures);
    read.unwrap_or_default().into_iter().map(|signature| signature.keyid).collect()
}
