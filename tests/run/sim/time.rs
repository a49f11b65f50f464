//! Virtual time and seeded chance for all that runs on one thread: the C library's clock, its waiting for events and its
//! random numbers, as far as this program calls them, are defined here. A thread that has nothing to do but wait finds that
//! the time has come. Other threads get the real ones. Knows nothing of what is simulated.

use std::cell::Cell;

use nix::libc::{
    self, SYS_clock_gettime, SYS_epoll_pwait, SYS_getrandom, c_int, c_uint, c_void, clockid_t,
    epoll_event, size_t, ssize_t, timespec,
};

/// Nanoseconds since the beginning, and the state of the random numbers.
#[derive(Clone, Copy)]
struct World {
    now: u64,
    random: u64,
}

/// What clocks say in the beginning, in seconds.
const BEGINNING: u64 = 1_796_000_000;

thread_local! {
    static WORLD: Cell<Option<World>> = const { Cell::new(None) };
}

fn world() -> Option<World> {
    WORLD.try_with(Cell::get).ok().flatten()
}

/// Runs `work` on a thread of its own, where time is virtual and chance comes from `seed`.
pub fn simulate<T: Send>(seed: u64, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            WORLD.set(Some(World {
                now: 0,
                random: seed,
            }));
            let came = work();
            WORLD.set(None);
            came
        });
        match thread.join() {
            Ok(came) => came,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: clockid_t, out: *mut timespec) -> c_int {
    match world() {
        Some(World { now, .. }) => {
            let (seconds, nanos) = (BEGINNING + now / 1_000_000_000, now % 1_000_000_000);
            // SAFETY: the caller hands over a place for the time.
            unsafe {
                (*out).tv_sec = seconds.cast_signed();
                (*out).tv_nsec = nanos.cast_signed();
            }
            0
        }
        // SAFETY: the same arguments.
        None => unsafe { libc::syscall(SYS_clock_gettime, clock, out) as c_int },
    }
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn epoll_wait(
    at: c_int,
    events: *mut epoll_event,
    most: c_int,
    timeout: c_int,
) -> c_int {
    let now = world();
    let wait = if now.is_some() { 0 } else { timeout };
    let no_mask: *const c_void = std::ptr::null();
    // SAFETY: the same arguments, without a mask of signals.
    let found =
        unsafe { libc::syscall(SYS_epoll_pwait, at, events, most, wait, no_mask, 8) } as c_int;
    if let (Some(world), 0) = (now, found) {
        let Ok(ms) = u64::try_from(timeout) else {
            // Nobody would ever wake up.
            std::process::abort();
        };
        WORLD.set(Some(World {
            now: world.now + ms * 1_000_000,
            ..world
        }));
    }
    found
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(into: *mut c_void, length: size_t, flags: c_uint) -> ssize_t {
    let Some(mut world) = world() else {
        // SAFETY: the same arguments.
        return unsafe { libc::syscall(SYS_getrandom, into, length, flags) as ssize_t };
    };
    for at in 0..length {
        let mut random = super::random::Random::new(world.random);
        world.random = random.next();
        // SAFETY: the caller hands over a place for so many bytes.
        unsafe { into.cast::<u8>().add(at).write(world.random as u8) };
    }
    WORLD.set(Some(world));
    length.cast_signed()
}

fn drawn() -> String {
    foundry::probe::Nonce::draw().unwrap().word().to_owned()
}

#[test]
fn time_goes_by_as_soon_as_nobody_does_anything_and_chance_is_seeded() {
    use std::time::{Duration, Instant};
    let real = Instant::now();
    let virtually = simulate(7, || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let began = Instant::now();
        runtime.block_on(async { tokio::time::sleep(Duration::from_secs(3600)).await });
        began.elapsed()
    });
    assert!(virtually >= Duration::from_secs(3600));
    assert!(real.elapsed() < Duration::from_secs(60));
    assert_eq!(simulate(7, drawn), simulate(7, drawn));
    assert_ne!(simulate(7, drawn), simulate(8, drawn));
}
