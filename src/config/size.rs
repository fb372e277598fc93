//! Sizes in bytes: `8MiB`, `1GB`.

/// The units in bytes: those of 1024 with an `i`, those of 1000 without.
const UNITS: [(&str, u64); 7] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
];

/// Reads a whole number with its unit; `None` when the text is none or too large to hold.
pub(super) fn parse(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let (_, bytes) = UNITS.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_a_whole_number_with_its_unit() {
        for (text, bytes) in [
            ("8MiB", 8 << 20),
            ("1KiB", 1024),
            ("2GiB", 2 << 30),
            ("512B", 512),
            ("1KB", 1000),
            ("5MB", 5_000_000),
            ("1GB", 1_000_000_000),
            ("0B", 0),
        ] {
            assert_eq!(parse(text), Some(bytes), "{text}");
        }
    }

    #[test]
    fn anything_else_is_no_size() {
        for text in
            ["", "8", "MiB", "8 MiB", "8mib", "1.5MiB", "-1B", "8M", "8TiB", "99999999999999999999B", "99999999999GiB"]
        {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
