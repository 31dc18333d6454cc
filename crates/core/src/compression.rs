//! Payloads of records, compressed with zstd where that makes them smaller.

use std::cell::RefCell;

use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::get_frame_content_size;

use crate::error::{Code, Error, Result};
use crate::limits::{COMPRESSED_SIZE_BYTES_MIN, RECORD_SIZE_BYTES_MAX};

/// Chosen by measuring, as is the least size: see `docs/key-layout.md`.
const LEVEL: i32 = 1;
/// What has to be saved for the time that reading takes: a sixteenth of the payload.
const SAVED_PART: usize = 16;

// The tables of a compressor cost more than a small payload. They hold nothing that the next payload's bytes depend on.
thread_local! {
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// The payload as one zstd frame that tells its size, if that is worth it.
pub(crate) fn compressed(payload: &[u8]) -> Option<Vec<u8>> {
    if payload.len() < COMPRESSED_SIZE_BYTES_MIN {
        return None;
    }
    let compressed = COMPRESSOR.with_borrow_mut(|slot| {
        if slot.is_none() {
            *slot = Compressor::new(LEVEL).ok();
        }
        // Without memory for it, the payload stays as it is.
        slot.as_mut().and_then(|compressor| compressor.compress(payload).ok())
    })?;
    (compressed.len() + payload.len() / SAVED_PART < payload.len()).then_some(compressed)
}

/// What [`compressed`] was given.
///
/// # Errors
///
/// 20090 for bytes that are no such frame, and for one that says that it holds more than a record may.
pub(crate) fn decompressed(frame: &[u8]) -> Result<Vec<u8>> {
    let size_bytes = size_bytes(frame)?;
    let payload = DECOMPRESSOR.with_borrow_mut(|slot| {
        let decompressor = match slot {
            Some(decompressor) => decompressor,
            None => slot.insert(Decompressor::new().map_err(damaged)?),
        };
        // It never writes more than so many bytes, whatever the frame does after it said how many these are.
        decompressor.decompress(frame, size_bytes).map_err(damaged)
    })?;
    match payload.len() == size_bytes {
        true => Ok(payload),
        false => Err(damaged("it holds another number of bytes than it says")),
    }
}

/// How many bytes the payload of a frame has, by its first bytes.
///
/// # Errors
///
/// As [`decompressed`].
pub(crate) fn size_bytes(frame: &[u8]) -> Result<usize> {
    let size_bytes = match get_frame_content_size(frame) {
        Ok(Some(size_bytes)) => size_bytes,
        Ok(None) => return Err(damaged("it does not say how long it is")),
        Err(_) => return Err(damaged("it is no zstd frame")),
    };
    match usize::try_from(size_bytes) {
        Ok(size_bytes) if size_bytes <= RECORD_SIZE_BYTES_MAX => Ok(size_bytes),
        _ => Err(damaged(format!(
            "it says that it holds {size_bytes} bytes, the limit is {RECORD_SIZE_BYTES_MAX}"
        ))),
    }
}

fn damaged(why: impl ToString) -> Error {
    let detail = format!("the compressed payload of a record cannot be read: {}", why.to_string());
    Error::new(Code::StoredDataInvalid, detail)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn code(frame: &[u8]) -> Code {
        decompressed(frame).unwrap_err().code()
    }

    #[test]
    fn what_gets_smaller_is_compressed_and_comes_back() {
        let text = "the quick brown fox jumps over the lazy dog; ".repeat(30_000);
        for size in [COMPRESSED_SIZE_BYTES_MIN, 600, 1_000, 90_001, RECORD_SIZE_BYTES_MAX] {
            let payload = &text.as_bytes()[..size];
            let frame = compressed(payload).unwrap();
            assert!(frame.len() < size && size_bytes(&frame).unwrap() == size);
            assert_eq!(decompressed(&frame).unwrap(), payload);
        }
        assert_eq!(compressed(&text.as_bytes()[..COMPRESSED_SIZE_BYTES_MIN - 1]), None);
        // Nothing repeats here.
        let mut state = 1u64;
        let noise = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        });
        assert_eq!(compressed(&noise.take(5_000).collect::<Vec<_>>()), None);
    }

    /// The bytes do not depend on what the thread compressed before.
    #[test]
    fn the_same_payload_gives_the_same_bytes() {
        let one = b"abcdefgh".repeat(100);
        let first = compressed(&one).unwrap();
        compressed(&b"something else entirely ".repeat(5_000)).unwrap();
        assert_eq!(compressed(&one).unwrap(), first);
    }

    #[test]
    fn frames_that_say_too_much_are_refused() {
        let bomb = zstd::bulk::compress(&vec![0; RECORD_SIZE_BYTES_MAX + 1], LEVEL).unwrap();
        assert!(bomb.len() < 200);
        assert_eq!(code(&bomb), Code::StoredDataInvalid);
        // One that says less than it holds.
        let frame = zstd::bulk::compress(&vec![7; 100_000], LEVEL).unwrap();
        let size = 100_000u32.to_le_bytes();
        let place = frame.windows(4).position(|bytes| bytes == size).unwrap();
        for claimed in [0u32, 99_999, 100_001, 1_000_000, 1_000_001, u32::MAX] {
            let mut lie = frame.clone();
            lie[place..place + 4].copy_from_slice(&claimed.to_le_bytes());
            assert_eq!(code(&lie), Code::StoredDataInvalid, "{claimed}");
        }
        // One that does not say it.
        let streamed = zstd::stream::encode_all(&b"abc".repeat(1_000)[..], LEVEL).unwrap();
        assert_eq!(code(&streamed), Code::StoredDataInvalid);
        for cut in 0..frame.len() {
            assert_eq!(code(&frame[..cut]), Code::StoredDataInvalid, "cut at {cut}");
        }
        // A good one is read after all the bad ones.
        assert_eq!(decompressed(&frame).unwrap(), vec![7; 100_000]);
    }

    proptest! {
        #[test]
        fn damaged_frames_never_panic(flips in proptest::collection::vec((0usize..60, any::<u8>()), 1..6)) {
            let mut frame = compressed(&b"abcdefgh0123".repeat(50)).unwrap();
            for (place, byte) in flips {
                let place = place % frame.len();
                frame[place] = byte;
            }
            if let Ok(payload) = decompressed(&frame) {
                prop_assert!(payload.len() <= RECORD_SIZE_BYTES_MAX);
            }
        }
    }
}

/// Records in both formats, in the store and in the log.
#[cfg(test)]
mod stored_tests {

    use pollster::block_on;
    use tenantry_kv::conformance::reference::manual_env;

    use super::*;
    use crate::record::frame::{self, Format};
    use crate::{Database, PrimaryKey, Query, Record, SchemaDefinition, Tenant};

    const SCHEMA: &str =
        "name = \"s\"\n[types.note]\nprimary_key = [\"id\"]\nfields = { id = \"int\", text = \"string\" }\n";

    fn tenant() -> Tenant {
        let env = manual_env();
        let engine = crate::test_engine::engine(&env);
        let database = block_on(Database::open(engine, env, &crate::test_engine::name("test"))).unwrap();
        block_on(database.apply_schema(&SchemaDefinition::from_toml(SCHEMA).unwrap())).unwrap();
        block_on(database.create_tenant("acme", "s")).unwrap()
    }

    fn note(id: i64, text: &str) -> Record {
        Record::new().with("id", id).with("text", text)
    }

    /// The key of part 0 of a note.
    fn key(tenant: &Tenant, id: i64) -> bytes::Bytes {
        let prefix = tenant.keys.records(1).unwrap();
        tenantry_kv::tuple::pack_after(&prefix, &[id.into(), 0.into()]).unwrap()
    }

    fn stored(tenant: &Tenant, id: i64) -> bytes::Bytes {
        let transaction = tenant.database.engine().begin().unwrap();
        block_on(transaction.get(&key(tenant, id), tenantry_kv::Isolation::Snapshot)).unwrap().unwrap()
    }

    fn store(tenant: &Tenant, id: i64, frame: &[u8]) {
        let transaction = tenant.database.engine().begin().unwrap();
        transaction.set(&key(tenant, id), frame);
        block_on(transaction.commit()).unwrap();
    }

    #[test]
    fn small_records_stay_plain_and_large_ones_take_less_room() {
        let tenant = tenant();
        let long = "lorem ipsum ".repeat(20_000);
        for (id, text) in [(1, "short"), (2, &long[..600]), (3, &long[..])] {
            block_on(tenant.put("note", &note(id, text))).unwrap();
            let bytes = stored(&tenant, id);
            let frame = frame::read(&bytes).unwrap();
            let expected = if id == 1 { Format::Plain } else { Format::Zstd };
            assert_eq!((frame.format, frame.further_parts), (expected, 0));
            assert!(id == 1 || bytes.len() < text.len() / 2);
            assert!(frame.payload_size_bytes().unwrap() > text.len());
            let found = block_on(tenant.get("note", &PrimaryKey::of(id))).unwrap().unwrap();
            assert!(found == note(id, text) && found.version().is_some());
        }
        // From compressed to plain and back, in one transaction and by a query.
        block_on(tenant.run(|transaction| async move {
            transaction.put("note", &note(3, "short")).await?;
            transaction.put("note", &note(1, &"ab".repeat(500))).await?;
            let page = transaction.query(&Query::of("note")).await?;
            assert_eq!(page.records[0], note(1, &"ab".repeat(500)));
            assert_eq!(page.records[2], note(3, "short"));
            Ok::<_, Error>(())
        }))
        .unwrap();
        assert_eq!(frame::read(&stored(&tenant, 3)).unwrap().format, Format::Plain);
    }

    #[test]
    fn frames_that_cannot_be_are_errors_and_nothing_worse() {
        let tenant = tenant();
        let plain = |format: u8, further_parts: u16, first: &[u8]| {
            let mut bytes = frame::write(Format::Plain, 1, 0, further_parts, first);
            bytes[0] = format;
            bytes
        };
        let bomb = zstd::bulk::compress(&vec![0; 900_000_000], LEVEL).unwrap();
        assert!(bomb.len() < 90_000);
        let good = compressed(&[0x08, 0x02].repeat(300)).unwrap();
        let cases = [
            plain(2, 0, &bomb),
            plain(2, 0, &good[..good.len() - 1]),
            plain(2, 0, b""),
            plain(2, 1, &good),
            plain(1, 13, b"\x08\x02"),
            plain(1, u16::MAX, b"\x08\x02"),
            plain(0, 0, b"\x08\x02"),
            plain(3, 0, b"\x08\x02"),
            plain(1, 0, b"\x08\x02")[..18].to_vec(),
            b"".to_vec(),
        ];
        for frame in &cases {
            store(&tenant, 1, frame);
            let code = |result: Result<bool>| result.unwrap_err().code();
            let got = block_on(tenant.get("note", &PrimaryKey::of(1))).map(|record| record.is_some());
            let many = block_on(tenant.get_many("note", &[PrimaryKey::of(1)])).map(|found| found.is_empty());
            let page = block_on(tenant.query(&Query::of("note"))).map(|page| page.records.is_empty());
            let expected = match frame.first() {
                Some(3) => Code::SealBroken,
                _ => Code::StoredDataInvalid,
            };
            for result in [got, many, page] {
                assert_eq!(code(result), expected, "{:?}", &frame[..frame.len().min(40)]);
            }
        }
        store(&tenant, 1, &plain(2, 0, &good));
        assert!(block_on(tenant.get("note", &PrimaryKey::of(1))).unwrap().is_some());
    }

    /// Small stored bytes that become many: what is read together is bounded by what it becomes.
    #[test]
    fn bounds_count_what_was_compressed() {
        let tenant = tenant();
        let long = "x".repeat(900_000);
        for id in 0..40 {
            block_on(tenant.put("note", &note(id, &long))).unwrap();
        }
        let keys: Vec<PrimaryKey> = (0..40).map(PrimaryKey::of).collect();
        assert_eq!(block_on(tenant.get_many("note", &keys)).unwrap_err().code(), Code::LimitPassed);
        assert_eq!(block_on(tenant.get_many("note", &keys[..30])).unwrap().len(), 30);
        let page = block_on(tenant.query(&Query::of("note").rows_max(40))).unwrap();
        assert!(page.records.len() == 5 && page.next.is_some());
        let too_long = note(1, &"x".repeat(1_000_001));
        assert_eq!(block_on(tenant.put("note", &too_long)).unwrap_err().code(), Code::LimitPassed);
    }
}
