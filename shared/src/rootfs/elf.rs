//! What a program needs in order to start: its loader and the libraries it names.
//!
//! `ldd` would tell too, but it asks the loader, which for a foreign program means running it.
//! We read what the loader reads: `PT_INTERP`, `DT_NEEDED`, `DT_RPATH`, `DT_RUNPATH`; see
//! `elf(5)` and `ld.so(8)`.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use object::Endianness;
use object::elf::{self, FileHeader32, FileHeader64};
use object::read::elf::{Dyn, FileHeader, ProgramHeader};
use object::read::{FileKind, ReadCache, ReadRef};

/// An ELF file as its loader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elf {
    /// The machine it is for and whether it has 64 bits; a library must have the same.
    pub machine: (u16, bool),
    /// The loader; None for libraries and static programs.
    pub interpreter: Option<PathBuf>,
    /// The libraries it names, usually without a directory.
    pub needed: Vec<PathBuf>,
    /// Where to look first, also for the libraries of its libraries (`DT_RPATH`).
    pub rpath: Vec<String>,
    /// Where to look first for its own libraries (`DT_RUNPATH`). With it, `rpath` is ignored.
    pub runpath: Vec<String>,
}

/// Reads the file at `path`; `None` when it is no ELF file.
///
/// # Errors
/// The file cannot be read, or is a damaged ELF file (`InvalidData`).
pub fn read(path: &Path) -> io::Result<Option<Elf>> {
    // Reads only the parts that are asked for.
    parse(&ReadCache::new(File::open(path)?))
}

/// As [`read`], for bytes or anything else `object` can read from.
///
/// # Errors
/// As [`read`].
pub fn parse<'data, R: ReadRef<'data>>(data: R) -> io::Result<Option<Elf>> {
    let elf = match FileKind::parse(data) {
        Ok(FileKind::Elf64) => dynamic::<FileHeader64<Endianness>, R>(data),
        Ok(FileKind::Elf32) => dynamic::<FileHeader32<Endianness>, R>(data),
        _ => return Ok(None),
    };
    elf.map(Some).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Goes by the segments, as the loader does: sections may have been stripped.
fn dynamic<'data, H, R>(data: R) -> object::read::Result<Elf>
where
    H: FileHeader<Endian = Endianness>,
    R: ReadRef<'data>,
{
    let header = H::parse(data)?;
    let endian = header.endian()?;
    let segments = header.program_headers(endian, data)?;
    let mut found = Elf {
        machine: (header.e_machine(endian).0, header.is_class_64()),
        interpreter: None,
        needed: Vec::new(),
        rpath: Vec::new(),
        runpath: Vec::new(),
    };
    let mut entries: Vec<(elf::DynamicTag, u64)> = Vec::new();
    for segment in segments {
        if let Some(path) = segment.interpreter(endian, data)? {
            found.interpreter = Some(PathBuf::from(OsStr::from_bytes(path)));
        }
        if let Some(table) = segment.dynamic(endian, data)? {
            let pairs = table.iter().map(|entry| (entry.d_tag(endian), entry.d_val(endian).into()));
            entries.extend(pairs.take_while(|(tag, _)| *tag != elf::DT_NULL));
        }
    }
    let strings = entries.iter().find(|(tag, _)| *tag == elf::DT_STRTAB).map(|(_, at)| *at);
    // The table is named by its address in memory; a segment says where in the file that is.
    let start = strings.and_then(|address| file_offset::<H>(segments, endian, address));
    let string = |at: u64| text(data, start?.checked_add(at)?);
    for (tag, value) in entries {
        match tag {
            elf::DT_NEEDED => found.needed.extend(string(value).map(PathBuf::from)),
            elf::DT_RPATH => {
                found.rpath.extend(string(value).iter().flat_map(|list| directories(list)))
            }
            elf::DT_RUNPATH => {
                found.runpath.extend(string(value).iter().flat_map(|list| directories(list)))
            }
            _ => {}
        }
    }
    Ok(found)
}

fn file_offset<H: FileHeader>(
    segments: &[H::ProgramHeader],
    endian: H::Endian,
    address: u64,
) -> Option<u64> {
    segments.iter().filter(|segment| segment.p_type(endian) == elf::PT_LOAD).find_map(|segment| {
        let within = address.checked_sub(segment.p_vaddr(endian).into())?;
        let length: u64 = segment.p_filesz(endian).into();
        (within < length).then(|| segment.p_offset(endian).into().checked_add(within))?
    })
}

fn text<'data, R: ReadRef<'data>>(data: R, start: u64) -> Option<String> {
    let bytes = data.read_bytes_at_until(start..data.len().ok()?, 0).ok()?;
    String::from_utf8(bytes.to_vec()).ok()
}

fn directories(list: &str) -> Vec<String> {
    list.split(':').filter(|directory| !directory.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_of_this_machine() {
        // The test binary may be static; the shell hardly ever is.
        let shell = std::fs::canonicalize("/bin/sh").unwrap();
        let found = read(&shell).unwrap().unwrap();
        assert_eq!(found.machine.1, cfg!(target_pointer_width = "64"));
        if let Some(loader) = &found.interpreter {
            assert!(loader.is_absolute() && loader.exists());
            assert!(!found.needed.is_empty());
        }
    }

    #[test]
    fn other_files() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("script");
        std::fs::write(&file, "#!/bin/sh\n").unwrap();
        assert_eq!(read(&file).unwrap(), None);
        assert!(read(&dir.path().join("none")).is_err());
        // Damage is an error or a file without needs, never a panic.
        let whole = std::fs::read(std::fs::canonicalize("/bin/sh").unwrap()).unwrap();
        for length in (0..2048.min(whole.len())).step_by(7) {
            let _ = parse(&whole[..length]);
        }
    }
}
