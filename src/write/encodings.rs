//! Numbers as Parquet packs them: the RLE and bit-packing hybrid, and `DELTA_BINARY_PACKED` (Encodings.md of the
//! Parquet format).

/// Numbers of `width` bits in the RLE and bit-packing hybrid, as one run: of one number if all are the same, else of
/// all of them packed, filled up with zeros to a multiple of eight.
pub fn hybrid(numbers: &[u32], width: u32, out: &mut Vec<u8>) {
    let Some(first) = numbers.first() else { return };
    if numbers.iter().all(|number| number == first) {
        return hybrid_run(*first, numbers.len(), width, out);
    }
    let groups = numbers.len().div_ceil(8);
    varint((groups as u64) << 1 | 1, out);
    let end = out.len() + groups * width as usize;
    pack(numbers.iter().map(|number| u64::from(*number)), width, out);
    out.resize(end, 0);
}

/// One number of `width` bits `n` times.
pub fn hybrid_run(number: u32, n: usize, width: u32, out: &mut Vec<u8>) {
    varint((n as u64) << 1, out);
    out.extend_from_slice(&number.to_le_bytes()[..width.div_ceil(8) as usize]);
}

/// Numbers of `width` bits, 64 at most, one behind the other from the lowest bit on; the last byte is filled up with zeros.
fn pack(numbers: impl Iterator<Item = u64>, width: u32, out: &mut Vec<u8>) {
    if width == 0 {
        return;
    }
    let (mut bits, mut filled) = (0u64, 0);
    for number in numbers {
        bits |= number << filled;
        filled += width;
        if filled >= u64::BITS {
            out.extend_from_slice(&bits.to_le_bytes());
            filled -= u64::BITS;
            // What of the number did not fit.
            bits = number.checked_shr(width - filled).unwrap_or(0);
        }
    }
    out.extend_from_slice(&bits.to_le_bytes()[..filled.div_ceil(8) as usize]);
}

/// Numbers of a miniblock of `DELTA_BINARY_PACKED`, and miniblocks of a block.
const MINIBLOCK: usize = 32;
const MINIBLOCKS: usize = 4;

/// Numbers as their distances from one another, of which those of a block are packed as what they are more than the
/// least of them. `bits` is how many the numbers have: distances wrap around there.
pub fn delta_binary_packed<I>(numbers: I, bits: Bits, out: &mut Vec<u8>)
where
    I: ExactSizeIterator<Item = i64>,
{
    let mut numbers = numbers.into_iter();
    varint((MINIBLOCK * MINIBLOCKS) as u64, out);
    varint(MINIBLOCKS as u64, out);
    varint(numbers.len() as u64, out);
    let mut before = numbers.next().unwrap_or(0);
    zigzag(before, out);
    let mut block = [0; MINIBLOCK * MINIBLOCKS];
    loop {
        let mut n = 0;
        for (delta, number) in block.iter_mut().zip(numbers.by_ref()) {
            *delta = bits.wrapped(number.wrapping_sub(before));
            before = number;
            n += 1;
        }
        let Some(least) = block[..n].iter().min().copied() else { return };
        zigzag(least, out);
        let widths_at = out.len();
        out.extend_from_slice(&[0; MINIBLOCKS]);
        for (place, deltas) in block[..n].chunks(MINIBLOCK).enumerate() {
            let more = |delta: &i64| bits.unsigned(delta.wrapping_sub(least));
            let width = u64::BITS - deltas.iter().map(more).fold(0, |a, b| a | b).leading_zeros();
            out[widths_at + place] = width as u8;
            let end = out.len() + MINIBLOCK * width as usize / 8;
            pack(deltas.iter().map(more), width, out);
            out.resize(end, 0);
        }
        if n < block.len() {
            return;
        }
    }
}

/// Bits of the numbers of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bits {
    ThirtyTwo,
    SixtyFour,
}

impl Bits {
    fn wrapped(self, number: i64) -> i64 {
        match self {
            Bits::ThirtyTwo => i64::from(number as i32),
            Bits::SixtyFour => number,
        }
    }

    fn unsigned(self, number: i64) -> u64 {
        match self {
            Bits::ThirtyTwo => u64::from(number as u32),
            Bits::SixtyFour => number as u64,
        }
    }
}

/// LEB128.
fn varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// LEB128 of numbers near zero, on either side of it.
fn zigzag(number: i64, out: &mut Vec<u8>) {
    varint((number << 1 ^ number >> 63) as u64, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_as_the_format_tells_them() {
        let encoded = |numbers: &[u32], width| {
            let mut out = Vec::new();
            hybrid(numbers, width, &mut out);
            out
        };
        // The example of Encodings.md: 0 to 7 in three bits each; behind the count of groups, one.
        assert_eq!(encoded(&[0, 1, 2, 3, 4, 5, 6, 7], 3), [0b11, 0x88, 0xC6, 0xFA]);
        // 9 numbers of one bit: two groups, the second filled up.
        assert_eq!(encoded(&[1, 0, 0, 0, 0, 0, 0, 0, 1], 1), [0b101, 1, 1]);
        // 300 times 5: 600 as LEB128 and the number in as many bytes as its bits need.
        assert_eq!(encoded(&[5; 300], 9), [0xD8, 0x04, 5, 0]);
        assert_eq!(encoded(&[0; 3], 0), [6]);
        assert!(encoded(&[], 4).is_empty());
        // 18 bits: more than a word at a time would hold.
        let numbers = [0x2_AAAA, 0x1_5555, 0, 0x3_FFFF, 1, 2, 3, 4];
        let packed = numbers.iter().rev().fold(0u128, |bits, n| bits << 18 | u128::from(*n));
        let top = (u128::from(numbers[7]) >> 2) as u8;
        let mut by_hand = vec![0b11];
        by_hand.extend_from_slice(&packed.to_le_bytes());
        by_hand.extend_from_slice(&[top, 0]);
        assert_eq!(encoded(&numbers, 18), by_hand);
    }

    #[test]
    fn deltas_are_as_the_format_tells_them() {
        let encoded = |numbers: &[i64], bits| {
            let mut out = Vec::new();
            delta_binary_packed(numbers.iter().copied(), bits, &mut out);
            out
        };
        // The header of each: blocks of 128 in 4 miniblocks, the count, the first number.
        assert_eq!(encoded(&[], Bits::SixtyFour), [0x80, 1, 4, 0, 0]);
        assert_eq!(encoded(&[-3], Bits::SixtyFour), [0x80, 1, 4, 1, 5]);
        // The examples of Encodings.md: distances of 1 are none beyond the least of them.
        assert_eq!(encoded(&[1, 2, 3, 4, 5], Bits::ThirtyTwo), [0x80, 1, 4, 5, 2, 2, 0, 0, 0, 0]);
        // 7, 5, 3, 1, 2, 3, 4, 5: distances -2 -2 -2 1 1 1 1, which are 0 0 0 3 3 3 3 beyond -2, of two bits.
        let mut by_hand = vec![0x80, 1, 4, 8, 14, 3, 2, 0, 0, 0, 0b1100_0000, 0b11_1111];
        by_hand.extend_from_slice(&[0; 6]);
        assert_eq!(encoded(&[7, 5, 3, 1, 2, 3, 4, 5], Bits::ThirtyTwo), by_hand);
        // From the least number to the greatest is one step back where numbers have so many bits.
        let far = encoded(&[i64::from(i32::MIN), i64::from(i32::MAX)], Bits::ThirtyTwo);
        assert_eq!(far, [0x80, 1, 4, 2, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F, 1, 0, 0, 0, 0]);
        let far = encoded(&[i64::MIN, i64::MAX, i64::MIN], Bits::SixtyFour);
        assert_eq!(&far[14..19], [1, 2, 0, 0, 0], "-1 and 1: least -1, of two bits");
    }
}
