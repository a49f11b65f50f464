//! Keeps the process' memory to itself: no core dumps, no look into it by other processes of the same user, nothing of it on a
//! swap partition where that is allowed. Does not know what is in it.

/// Does what this system lets it do. What it does not let is no reason to stop.
pub fn seal() {
    #[cfg(target_os = "linux")]
    linux::seal();
}

#[cfg(target_os = "linux")]
mod linux {
    use nix::sys::mman::{MlockAllFlags, mlockall};
    use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};

    /// `MCL_ONFAULT`: pages are locked as they are used, not all that could be.
    const ON_FAULT: i32 = 4;

    /// The capability to lock memory beyond all limits, as a bit of `CapEff`.
    const CAP_IPC_LOCK: u64 = 1 << 14;

    pub fn seal() {
        // Not for children, whose own affair it is: they may raise it again.
        if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_CORE) {
            let _ = setrlimit(Resource::RLIMIT_CORE, 0, hard);
        }
        let _ = nix::sys::prctl::set_dumpable(false);
        if may_lock() {
            let flags = MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE;
            let _ = mlockall(flags | MlockAllFlags::from_bits_retain(ON_FAULT));
        }
    }

    /// Returns whether all memory may be locked, whatever there will be of it: with a limit, getting more would fail one day.
    fn may_lock() -> bool {
        if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_MEMLOCK)
            && hard == RLIM_INFINITY
            && setrlimit(Resource::RLIMIT_MEMLOCK, hard, hard).is_ok()
        {
            return true;
        }
        // In a user namespace the capability is there and counts for nothing: the limit would hold.
        let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        if !map.split_whitespace().eq(["0", "0", "4294967295"]) {
            return false;
        }
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let capabilities = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
        capabilities
            .and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok())
            .is_some_and(|bits| bits & CAP_IPC_LOCK != 0)
    }
}
