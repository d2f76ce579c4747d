//! Processes and threads by state, and their limits. Source: kernel
//! `Documentation/filesystems/proc.rst`, table 1-4 (`/proc/PID/stat`).
//!
//! Processes come and go while they are read: one that is gone is no error. A pass past its deadline
//! stops, and reports nothing rather than too little.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::collect::{CollectError, Collector, Files, Pass, Spec, parse};
use crate::model::{Batch, Kind};

pub(super) static SPEC: Spec = Spec {
    name: "processes",
    on_by_default: false,
    help: "Processes and threads by state, and their limits.",
    flags: &[],
    build: |host, _| {
        Ok(Box::new(Processes {
            procfs: host.paths.procfs.clone(),
            max_threads: host.paths.proc("sys/kernel/threads-max"),
            max_processes: host.paths.proc("sys/kernel/pid_max"),
            files: Files::new(host.descriptors.clone()),
        }))
    },
};

struct Processes {
    procfs: PathBuf,
    max_threads: PathBuf,
    max_processes: PathBuf,
    files: Files,
}

/// How many there are in each state, by the state's letter.
struct States([u64; 128]);

#[derive(Default)]
struct Counts {
    processes: u64,
    threads: u64,
    process_states: States,
    thread_states: States,
}

/// What is read of a `stat` file.
struct Stat {
    state: u8,
    threads: u64,
}

impl Collector for Processes {
    fn collect(&mut self, pass: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        let counts = self.count(pass.deadline)?;
        let max_threads = limit(&mut self.files, &self.max_threads)?;
        let max_processes = limit(&mut self.files, &self.max_processes)?;
        out.gauge("node_processes_pids", "Processes.", &[], parse::value(counts.processes));
        out.gauge("node_processes_threads", "Threads of all processes.", &[], parse::value(counts.threads));
        out.gauge("node_processes_max_threads", "Most threads the kernel allows.", &[], max_threads);
        out.gauge("node_processes_max_processes", "Most process ids the kernel allows.", &[], max_processes);
        counts.process_states.emit("node_processes_state", "Processes by state.", "state", out);
        let name = "node_processes_threads_state";
        counts.thread_states.emit(name, "Threads by state.", "thread_state", out);
        Ok(())
    }
}

impl Processes {
    fn count(&mut self, deadline: Instant) -> Result<Counts, CollectError> {
        let mut counts = Counts::default();
        let mut path = self.procfs.clone();
        for pid in numbers_in(&path)? {
            if Instant::now() >= deadline {
                return Err(CollectError::Other("no time left to read all processes".to_owned()));
            }
            path.push(&pid);
            if let Some(stat) = self.stat(&mut path)? {
                counts.processes += 1;
                counts.threads += stat.threads;
                counts.process_states.add(stat.state);
                path.push("task");
                self.count_threads(&mut path, &pid, &stat, &mut counts.thread_states)?;
                path.pop();
            }
            path.pop();
        }
        Ok(counts)
    }

    /// `path` is the process's `task`; the process's own thread is not read again.
    fn count_threads(
        &mut self,
        path: &mut PathBuf,
        pid: &str,
        process: &Stat,
        states: &mut States,
    ) -> Result<(), CollectError> {
        if process.threads == 1 {
            if path.exists() {
                states.add(process.state);
            }
            return Ok(());
        }
        for thread in numbers_in(path)? {
            if thread == pid {
                states.add(process.state);
                continue;
            }
            path.push(thread);
            if let Some(stat) = self.stat(path)? {
                states.add(stat.state);
            }
            path.pop();
        }
        Ok(())
    }

    /// The `stat` file in `directory`; `None` if its process is gone.
    fn stat(&mut self, directory: &mut PathBuf) -> Result<Option<Stat>, CollectError> {
        directory.push("stat");
        let stat = match self.files.read_once(directory) {
            Ok(text) => {
                parse_stat(text).map(Some).ok_or_else(|| CollectError::parsing(directory, "expected a process"))
            }
            Err(e) if is_gone(&e) => Ok(None),
            Err(e) => Err(CollectError::reading(directory, e)),
        };
        directory.pop();
        stat
    }
}

fn limit(files: &mut Files, path: &Path) -> Result<f64, CollectError> {
    let text = files.attribute(path).map_err(|e| CollectError::reading(path, e))?;
    parse::number(text).ok_or_else(|| CollectError::parsing(path, "expected a number"))
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
}

/// Names of the entries that are numbers; none if the directory is gone.
fn numbers_in(directory: &Path) -> Result<Vec<String>, CollectError> {
    let list = || -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(directory)? {
            let name = entry?.file_name();
            names.extend(name.to_str().filter(|n| n.bytes().all(|b| b.is_ascii_digit())).map(str::to_owned));
        }
        Ok(names)
    };
    match list() {
        Err(e) if is_gone(&e) => Ok(Vec::new()),
        listed => listed.map_err(|e| CollectError::reading(directory, e)),
    }
}

/// `pid (name) state ppid ...`: the name may hold parentheses and spaces, so fields count from the last `)`.
fn parse_stat(text: &[u8]) -> Option<Stat> {
    const THREADS_AFTER_STATE: usize = 16;
    let after_name = memchr::memrchr(b')', text)?;
    let mut fields = parse::fields(text.get(after_name + 1..)?);
    let state = *fields.next()?.first()?;
    let threads = parse::unsigned(fields.nth(THREADS_AFTER_STATE)?)?;
    state.is_ascii().then_some(Stat { state, threads })
}

impl Default for States {
    fn default() -> Self {
        Self([0; 128])
    }
}

impl States {
    fn add(&mut self, state: u8) {
        if let Some(count) = self.0.get_mut(usize::from(state)) {
            *count += 1;
        }
    }

    fn emit(&self, name: &str, help: &str, label: &str, out: &mut Batch) {
        let family = out.family(name, help, Kind::Gauge);
        for (letter, count) in (0_u8..).zip(self.0).filter(|(_, count)| *count > 0) {
            let state = [letter];
            out.sample(family, &[(label, std::str::from_utf8(&state).unwrap_or_default())], parse::value(count));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Fixture, NOW};
    use super::*;

    fn stat(name: &str, state: &str, threads: u32) -> String {
        format!("7 ({name}) {state} 1 7 7 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 {threads} 0 12345 4096 100\n")
    }

    fn limits() -> Fixture {
        let limits = Fixture::new().file("proc/sys/kernel/threads-max", "7801\n");
        limits.file("proc/sys/kernel/pid_max", "4194304\n")
    }

    #[test]
    fn golden() {
        limits()
            .file("proc/1/stat", stat("systemd", "S", 1))
            .dir("proc/1/task")
            .file("proc/20/stat", stat("a) R 1 (b c", "R", 2))
            .dir("proc/20/task/20")
            .file("proc/20/task/21/stat", stat("x", "D", 2))
            // Gone between the list and the look.
            .dir("proc/20/task/22")
            .dir("proc/30")
            .file("proc/self/stat", "")
            .expect(
                "processes",
                r#"node_processes_max_processes 4194304
                   node_processes_max_threads 7801
                   node_processes_pids 2
                   node_processes_threads 3
                   node_processes_state{state="R"} 1
                   node_processes_state{state="S"} 1
                   node_processes_threads_state{thread_state="D"} 1
                   node_processes_threads_state{thread_state="R"} 1
                   node_processes_threads_state{thread_state="S"} 1"#,
            );
    }

    #[test]
    fn garbage_and_a_missing_limit_are_errors() {
        assert!(limits().file("proc/1/stat", "garbage").error("processes").contains("expected a process"));
        assert!(Fixture::new().error("processes").contains("threads-max"));
    }

    #[test]
    fn past_its_deadline_it_stops() {
        let fixture = limits().file("proc/1/stat", stat("a", "S", 1));
        let pass = Pass { now: NOW, deadline: Instant::now() };
        let mut out = Batch::new();
        let result = fixture.collector("processes").collect(&pass, &mut out);
        assert!(result.is_err_and(|e| e.to_string().contains("no time left")) && out.is_empty());
    }
}
