//! How many bytes lie in a range: counted, up to a bound on the work.

use bytes::Bytes;
use tenantry_kv::limits::SYSTEM_SPACE_END;
use tenantry_kv::{ErrorCode, KeyValue, Result};

use super::state::{check_end, check_order};
use crate::seam::{Gate, ScanLimit};

/// How many rows are counted at most; what lies behind them counts nothing.
const ROWS_COUNTED_MAX: usize = 1_000_000;
const STEP: ScanLimit = ScanLimit { rows_max: 1_000, bytes_target: 1 << 20 };

/// Visits the newest committed rows of a range, in bounded steps; false from the visitor ends it.
fn visit_rows(
    gate: &dyn Gate,
    begin: &[u8],
    end: &[u8],
    mut visit: impl FnMut(&KeyValue) -> bool,
) -> Result<()> {
    let mut begin = Bytes::copy_from_slice(begin);
    let mut rows = Vec::new();
    let mut counted = 0;
    while counted < ROWS_COUNTED_MAX {
        // Each step at the newest version: the estimate is not transactional, and a long count never grows too old.
        let version = match gate.read_version(true).into_ready() {
            Ok(version) => version?,
            Err(_) => return Err(ErrorCode::INTERNAL_ERROR.into()),
        };
        rows.clear();
        let has_more = gate.snapshots().scan(&begin, end, false, version, STEP, &mut rows)?;
        for row in &rows {
            if !visit(row) {
                return Ok(());
            }
        }
        counted += rows.len();
        match rows.last() {
            Some(last) if has_more => begin = tenantry_kv::key_after(&last.key),
            _ => break,
        }
    }
    Ok(())
}

pub(super) fn estimate(gate: &dyn Gate, begin: &[u8], end: &[u8]) -> Result<u64> {
    check_order(begin, end)?;
    check_end(end, SYSTEM_SPACE_END)?;
    let mut bytes = 0;
    visit_rows(gate, begin, end, |row| {
        bytes += (row.key.len() + row.value.len()) as u64;
        true
    })?;
    Ok(bytes)
}

pub(super) fn split_points(
    gate: &dyn Gate,
    begin: &[u8],
    end: &[u8],
    chunk_size_bytes: u64,
    bound: &[u8],
) -> Result<Vec<Bytes>> {
    check_order(begin, end)?;
    check_end(begin, bound)?;
    check_end(end, bound)?;
    let mut points = vec![Bytes::copy_from_slice(begin)];
    if begin == end {
        return Ok(points);
    }
    let mut bytes = 0;
    visit_rows(gate, begin, end, |row| {
        if bytes >= chunk_size_bytes.max(1) {
            points.push(row.key.clone());
            bytes = 0;
        }
        bytes += (row.key.len() + row.value.len()) as u64;
        true
    })?;
    points.push(Bytes::copy_from_slice(end));
    Ok(points)
}
