//! What the operating system says of this process.

/// The bytes written to the disks of this machine: not only by this process, but as the disks saw them. What the kernel counts for a process are pages made dirty,
/// by whole folios: a megabyte for a write of a hundred bytes.
pub(crate) fn written_bytes() -> u64 {
    const SECTOR_SIZE_BYTES: u64 = 512;
    let text = std::fs::read_to_string("/proc/diskstats").unwrap_or_default();
    let sectors = text.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let name = fields.get(2)?;
        // Whole disks: partitions, and what lies on other devices, would count twice.
        let is_disk = std::fs::exists(format!("/sys/block/{name}/device")).unwrap_or(false);
        fields.get(9).filter(|_| is_disk)?.parse::<u64>().ok()
    });
    sectors.sum::<u64>() * SECTOR_SIZE_BYTES
}

/// The memory that this process has.
pub(crate) fn memory_bytes() -> u64 {
    number("/proc/self/status", "VmRSS:") * 1_024
}

/// The number behind a word; zero where there is no such file.
fn number(path: &str, word: &str) -> u64 {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(word)).unwrap_or_default();
    line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}
