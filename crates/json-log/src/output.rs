use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};
#[cfg(unix)]
use std::{thread, time::Duration};

use crate::line::HEAD;

/// Where the writer's thread writes to.
#[non_exhaustive]
#[derive(Default)]
pub enum Output {
    /// Standard output, unbuffered.
    #[default]
    Stdout,
    /// Standard error.
    Stderr,
    /// A file, to which lines are appended; made if it is not there.
    ///
    /// If the process before was killed within a line, that line is cut off, so that each complete line is a whole one;
    /// but not while another process logs to the file, as the generation before does in a rolling restart: its last line
    /// may just be coming in. Who logs to a file has it locked for that (shared, `flock`), on Unix.
    /// Of a named pipe there is nothing to cut off; whoever opens it waits until it has a reader.
    File(PathBuf),
    /// Anything else. It may block: only the writer's thread waits for it.
    Writer(Box<dyn Write + Send>),
}

pub(crate) type Sink = Box<dyn Write + Send>;

impl Output {
    pub(crate) fn open(self) -> io::Result<Sink> {
        Ok(match self {
            Self::Stdout => stdout()?,
            Self::Stderr => stderr()?,
            Self::File(path) => {
                let file = open_file(&path)?;
                take_over(&file)?;
                Box::new(file)
            }
            Self::Writer(writer) => writer,
        })
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("Stdout"),
            Self::Stderr => f.write_str("Stderr"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Writer(_) => f.write_str("Writer(..)"),
        }
    }
}

/// A descriptor of our own: `io::Stdout` would buffer what comes after the last newline of a write, hide how much of it
/// was taken, and make `println!` wait for a slow reader.
#[cfg(unix)]
fn stdout() -> io::Result<Sink> {
    use std::os::fd::AsFd;
    Ok(Box::new(File::from(io::stdout().as_fd().try_clone_to_owned()?)))
}

#[cfg(unix)]
fn stderr() -> io::Result<Sink> {
    use std::os::fd::AsFd;
    Ok(Box::new(File::from(io::stderr().as_fd().try_clone_to_owned()?)))
}

#[cfg(not(unix))]
fn stdout() -> io::Result<Sink> {
    Ok(Box::new(io::stdout()))
}

#[cfg(not(unix))]
fn stderr() -> io::Result<Sink> {
    Ok(Box::new(io::stderr()))
}

/// Opens a file to append lines to. Before the first of them it is [taken over](take_over).
pub(crate) fn open_file(path: &Path) -> io::Result<File> {
    // A pipe that can be read has a reader, and a device need not allow it.
    let read = path.metadata().map_or(true, |metadata| metadata.is_file());
    OpenOptions::new().create(true).append(true).read(read).open(path)
}

/// Before the first line is written to `file`: ends the one that a process before left there, unless it is still there
/// itself.
pub(crate) fn take_over(file: &File) -> io::Result<()> {
    if !file.metadata()?.is_file() {
        return Ok(()); // a pipe or a device has no end to look at
    }
    if others_write_to(file) {
        return Ok(());
    }
    let ended = end_last_line(file);
    say_that_we_write_to(file);
    ended
}

/// Whether another process does, or another writer of this one. If not, none will believe so until it is said. Of a file
/// system that has no locks nothing is known, and a line is seldom cut off that was coming in.
#[cfg(unix)]
fn others_write_to(file: &File) -> bool {
    use rustix::{fs, io::Errno};
    let others = fs::flock(file, fs::FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK);
    if others {
        say_that_we_write_to(file);
    }
    others
}

/// As long as the file is open. Who is just [taking it over](take_over) too needs no longer than a moment.
#[cfg(unix)]
fn say_that_we_write_to(file: &File) {
    use rustix::{fs, io::Errno};
    for _ in 0..100 {
        if fs::flock(file, fs::FlockOperation::NonBlockingLockShared) != Err(Errno::WOULDBLOCK) {
            break;
        }
        thread::sleep(Duration::from_millis(1));
    }
}

#[cfg(not(unix))]
const fn others_write_to(_: &File) -> bool {
    false
}

#[cfg(not(unix))]
const fn say_that_we_write_to(_: &File) {}

/// A process that was killed within a write leaves half a line. Another line behind it would make one that is none.
///
/// Half a line of ours is cut off; of whatever else is in the file, the last line is ended. Not while somebody writes: a
/// write that is under way looks the same.
fn end_last_line(mut file: &File) -> io::Result<()> {
    const LONGEST: u64 = 1 << 20;
    let length = file.metadata()?.len();
    let start = length.saturating_sub(LONGEST);
    file.seek(SeekFrom::Start(start))?;
    let mut end = Vec::new();
    file.take(LONGEST).read_to_end(&mut end)?;
    let last = match end.iter().rposition(|byte| *byte == b'\n') {
        Some(newline) => newline + 1,
        None if start == 0 => 0,
        None => return file.write_all(b"\n"),
    };
    let line = &end[last..];
    if line.is_empty() {
        Ok(())
    } else if line.starts_with(HEAD) || HEAD.starts_with(line) {
        file.set_len(start + last as u64)
    } else {
        file.write_all(b"\n")
    }
}
