//! Who has signed a run. An envelope that is wrong is a defect of the evidence; that there is none,
//! or that nobody gave its key, is not, unless a signature is required.

use std::io;

use super::super::ATTESTATION;
use super::super::attest::{self, AttestError, ENVELOPE_BYTES_MAX, Signed};
use super::super::text::shell_word;
use super::check::Check;
use super::finding::{Cause, SignatureState, Verdict};
use super::ledger::Ledger;

impl Check<'_> {
    /// What is known of the signatures, and each of them.
    pub(super) fn signature(&mut self, ledger: &Ledger) -> (SignatureState, Vec<Signed>) {
        let none = |state| (state, Vec::new());
        let bytes = match self.read(ATTESTATION, ENVELOPE_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let sign = self.sign();
                self.required(&format!(
                    "not signed, but --require-signature is set; sign it with {sign}"
                ));
                return none(SignatureState::None);
            }
            Err(error) => {
                self.unreadable(ATTESTATION, &error);
                return none(SignatureState::Invalid);
            }
        };
        let recorded = &ledger.recorded;
        let statement = attest::run_statement(&recorded.summary, &recorded.manifest);
        match attest::check(&bytes, &statement, self.asked.keys) {
            Ok(signed) if signed.iter().any(|one| one.verified) => (SignatureState::Valid, signed),
            Ok(signed) if self.asked.keys.is_empty() => {
                self.required("no signature was checked; give a signer's key with --key");
                (SignatureState::Unchecked, signed)
            }
            Ok(signed) => {
                let sign = self.sign();
                self.required(&format!(
                    "none of the signatures was made with a key that was given; give the signer's public key with --key, or sign the run with {sign}"
                ));
                (SignatureState::OtherKey, signed)
            }
            Err(AttestError::Malformed(what)) => {
                self.add(Verdict::Malformed, Cause::Signature, ATTESTATION, what);
                none(SignatureState::Invalid)
            }
            Err(AttestError::Wrong(what)) => {
                self.add(Verdict::Tampered, Cause::Signature, ATTESTATION, what);
                none(SignatureState::Invalid)
            }
        }
    }

    /// How to sign the run.
    fn sign(&self) -> String {
        format!("`gatedrun sign {} --key KEY`", shell_word(self.folder.path().as_str()))
    }

    fn required(&mut self, what: &str) {
        if self.asked.signature_required {
            self.add(Verdict::Unconfirmed, Cause::Signature, ATTESTATION, what);
        }
    }
}
