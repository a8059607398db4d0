//! One input file.

use camino::Utf8Path;

use crate::file;
use crate::host::HostFault;
use crate::problem::Problem;

/// The largest input file, in bytes.
pub const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Reads a file of bounded size; `name` is what its user calls it.
///
/// # Errors
/// That it is not there, cannot be read, is not a regular file, or is too large.
pub fn read_file(path: &Utf8Path, name: &str) -> Result<Vec<u8>, Problem> {
    file::read(path, FILE_BYTES_MAX).map_err(|unread| unread.problem(name))
}

/// What the machine refused, met while `file` was looked at.
pub(super) fn of_fault(file: &str, fault: &HostFault) -> Problem {
    Problem::new(file, fault.to_string()).of_the_host().remedy(fault.remedy())
}
