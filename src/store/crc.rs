//! CRC-32 (IEEE 802.3): the checksum of Ethernet and gzip.

/// The checksum of the bytes that were added so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Crc(u32);

/// What a byte adds to the checksum if this many bytes follow it in the same step of eight.
const TABLES: [[u32; 256]; 8] = tables();

#[allow(clippy::indexing_slicing, reason = "the compiler runs it, and checks each index")]
#[allow(clippy::cast_possible_truncation, reason = "the byte is less than 256")]
const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let (mut crc, mut bit) = (byte as u32, 0);
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut following = 1;
    while following < 8 {
        let mut byte = 0;
        while byte < 256 {
            let crc = tables[following - 1][byte];
            tables[following][byte] = (crc >> 8) ^ tables[0][(crc & 0xFF) as usize];
            byte += 1;
        }
        following += 1;
    }
    tables
}

impl Crc {
    /// Adds bytes: eight in each step.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        let mut crc = !self.0;
        let (eights, rest) = bytes.as_chunks::<8>();
        let [t0, t1, t2, t3, t4, t5, t6, t7] = &TABLES;
        for &[b0, b1, b2, b3, b4, b5, b6, b7] in eights {
            let [c0, c1, c2, c3] = crc.to_le_bytes();
            crc = look_up(t7, b0 ^ c0)
                ^ look_up(t6, b1 ^ c1)
                ^ look_up(t5, b2 ^ c2)
                ^ look_up(t4, b3 ^ c3)
                ^ look_up(t3, b4)
                ^ look_up(t2, b5)
                ^ look_up(t1, b6)
                ^ look_up(t0, b7);
        }
        for byte in rest {
            let [first, ..] = crc.to_le_bytes();
            crc = (crc >> 8) ^ look_up(t0, byte ^ first);
        }
        self.0 = !crc;
    }
}

/// A table has an entry for each byte.
fn look_up(table: &[u32; 256], byte: u8) -> u32 {
    table.get(usize::from(byte)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_one_of_the_standard_however_the_bytes_are_divided() {
        // The check value of CRC-32/ISO-HDLC, and one of 43 bytes.
        let pangram = b"The quick brown fox jumps over the lazy dog";
        for (bytes, checksum) in [(&b"123456789"[..], 0xCBF4_3926), (pangram, 0x414F_A339), (b"", 0)] {
            for at in 0..=bytes.len() {
                let mut crc = Crc::default();
                crc.add(&bytes[..at]);
                crc.add(&bytes[at..]);
                assert_eq!(crc, Crc(checksum), "divided at {at}");
            }
        }
    }
}
