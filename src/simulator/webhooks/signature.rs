//! Signs a webhook: HMAC-SHA256 over the raw body.

use super::options::SignatureForm;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The value of the signature header for `body`.
#[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
pub(super) fn sign(secret: &str, body: &[u8], form: SignatureForm) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length is right");
    mac.update(body);
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    match form {
        SignatureForm::Hex => hex,
        SignatureForm::Prefixed => format!("sha256={hex}"),
        SignatureForm::UpperCase => hex.to_uppercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Test cases 1 and 2 of RFC 4231.
    const HI_THERE: &str = "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7";
    const WHAT_DO_YA_WANT: &str = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";

    #[test]
    fn signatures_are_those_of_the_standard() {
        assert_eq!(sign(&"\u{b}".repeat(20), b"Hi There", SignatureForm::Hex), HI_THERE);
        assert_eq!(sign("Jefe", b"what do ya want for nothing?", SignatureForm::Hex), WHAT_DO_YA_WANT);
    }

    #[test]
    fn a_signature_may_have_a_prefix_or_upper_case_digits() {
        let signed = |form| sign("Jefe", b"what do ya want for nothing?", form);
        assert_eq!(signed(SignatureForm::Prefixed), format!("sha256={WHAT_DO_YA_WANT}"));
        assert_eq!(signed(SignatureForm::UpperCase), WHAT_DO_YA_WANT.to_uppercase());
    }
}
