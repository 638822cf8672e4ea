//! Lines of JSON that end in a checksum, for files that a crash may cut off.
//!
//! `{...,"crc32c":"9a3b01ff"}`: the checksum is CRC-32C over everything before `,"crc32c"`. What stands before it is the
//! caller's. Nothing here reads or writes files.

/// Why some bytes are no checked line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// They do not look like one.
    #[error("this is no line of a journal")]
    Layout,
    /// They were changed.
    #[error("its checksum should be {computed:08x}, but {written:08x} stands there")]
    Checksum {
        /// What it should be.
        computed: u32,
        /// What stands there.
        written: u32,
    },
}

const CHECKSUM: &[u8] = b",\"crc32c\":\"";
const END: &[u8] = b"\"}";
const CHECKSUM_DIGITS: usize = 8;

/// Ends a JSON object, given without its closing brace, with its checksum, the brace and a newline.
pub fn seal(line: &mut Vec<u8>) {
    let checksum = crc32c::crc32c(line);
    line.extend_from_slice(CHECKSUM);
    line.extend_from_slice(format!("{checksum:08x}").as_bytes());
    line.extend_from_slice(END);
    line.push(b'\n');
}

/// Returns what stands before the checksum of a line, given without its newline.
///
/// Errors: when the checksum is not there or not right.
pub fn unseal(line: &[u8]) -> Result<&[u8], LineError> {
    let (text, written) = split_checksum(line).ok_or(LineError::Layout)?;
    let computed = crc32c::crc32c(text);
    if computed != written {
        return Err(LineError::Checksum { computed, written });
    }
    Ok(text)
}

fn split_checksum(line: &[u8]) -> Option<(&[u8], u32)> {
    let line = line.strip_suffix(END)?;
    let (line, digits) = line.split_at_checked(line.len().checked_sub(CHECKSUM_DIGITS)?)?;
    if !digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let written = u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    Some((line.strip_suffix(CHECKSUM)?, written))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_castagnolis() {
        // The check value of CRC-32C, as RFC 3720 and every catalogue of checksums give it.
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn what_is_sealed_comes_back_and_no_changed_byte_goes_unseen() {
        let mut line = b"{\"text\":\"a \\\"quoted\\\" ,\\\"crc32c\\\":\\\"00000000\\\"}\"".to_vec();
        let text = line.clone();
        seal(&mut line);
        let line = line.strip_suffix(b"\n").unwrap();

        assert_eq!(unseal(line), Ok(text.as_slice()));
        for index in 0..line.len() {
            for change in [1_u8, 0x20, 0x80] {
                let mut changed = line.to_vec();
                changed[index] ^= change;
                assert!(unseal(&changed).is_err(), "{}", String::from_utf8_lossy(&changed));
            }
            assert!(unseal(&line[..index]).is_err(), "cut at {index}");
        }
    }
}
