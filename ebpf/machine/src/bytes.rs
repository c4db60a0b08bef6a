//! Eight bytes at a time: the word's lowest byte is the first on the wire.

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// The lowest set high bit marks the first byte of `word` that equals `byte`; 0 when there is none.
#[inline(always)]
pub(crate) const fn find(word: u64, byte: u8) -> u64 {
    let x = word ^ (ONES * byte as u64);
    x.wrapping_sub(ONES) & !x & HIGHS
}

/// The index of the byte that the lowest bit of `mark`, a result of [`find`], stands for.
#[inline(always)]
pub(crate) const fn index(mark: u64) -> u32 {
    // All bits below the mark, less seven: one for each byte before it, counted by the multiplication.
    (((((mark.wrapping_sub(1) & !mark) >> 7) & ONES).wrapping_mul(ONES)) >> 56) as u32
}

/// Keeps the marks of the first `n` bytes, 0..=8.
#[inline(always)]
pub(crate) const fn first(mark: u64, n: u32) -> u64 {
    if n >= 8 {
        mark
    } else {
        mark & ((1u64 << (n * 8)) - 1)
    }
}

/// ASCII letters in lower case; harmless to `-` and `:`.
#[inline(always)]
pub(crate) const fn lower(word: u64) -> u64 {
    word | 0x2020_2020_2020_2020
}

/// Up to eight bytes as a word, zero beyond.
pub(crate) const fn word(text: &[u8]) -> u64 {
    let mut word = 0;
    let mut at = 0;
    while at < text.len() {
        word |= (text[at] as u64) << (8 * at);
        at += 1;
    }
    word
}

/// All bits of the first `n` bytes, 0..=8.
#[inline(always)]
pub(crate) const fn mask(n: u32) -> u64 {
    if n >= 8 {
        u64::MAX
    } else {
        (1u64 << (n * 8)) - 1
    }
}

/// Whether `byte` may stand in a token (RFC 9110, 5.6.2).
#[inline(always)]
pub(crate) const fn is_token(byte: u8) -> bool {
    const fn set(range: core::ops::Range<u8>) -> u64 {
        let mut bits = 0;
        let mut b = range.start;
        while b < range.end {
            if b.is_ascii_alphanumeric()
                || matches!(
                    b,
                    b'!' | b'#'
                        | b'$'
                        | b'%'
                        | b'&'
                        | b'\''
                        | b'*'
                        | b'+'
                        | b'-'
                        | b'.'
                        | b'^'
                        | b'_'
                        | b'`'
                        | b'|'
                        | b'~'
                )
            {
                bits |= 1 << (b & 63);
            }
            b += 1;
        }
        bits
    }
    const LOW: u64 = set(0..64);
    const HIGH: u64 = set(64..128);
    let bits = match byte >> 6 {
        0 => LOW,
        1 => HIGH,
        _ => 0,
    };
    bits >> (byte & 63) & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_first_of_each_byte() {
        for at in 0..8 {
            let mut text = *b"aaaaaaaa";
            text[at] = b'\n';
            assert_eq!(index(find(u64::from_le_bytes(text), b'\n')), at as u32);
            text[7] = b'\n';
            assert_eq!(index(find(u64::from_le_bytes(text), b'\n')), at as u32);
        }
        assert_eq!(find(u64::from_le_bytes(*b"GET / HT"), b'\n'), 0);
    }

    #[test]
    fn knows_token_characters() {
        for b in 0..=255u8 {
            let separator = b"\"(),/:;<=>?@[\\]{} ".contains(&b);
            assert_eq!(is_token(b), b.is_ascii_graphic() && !separator, "{b:#x}");
        }
    }
}
