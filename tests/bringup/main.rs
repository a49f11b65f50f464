//! OpenBAO on real Debian hosts by one command: brought up from nothing, left alone when all is well, mended when not,
//! and completed whatever breaks off. `cargo nextest run -E 'binary(bringup)' --no-capture` shows times and counts.

#![expect(clippy::print_stderr, reason = "a log shows times and counts")]

mod bench;
mod bundled;
mod drift;
mod faults;
mod killed;
mod secrets;
mod shards;
#[path = "../support/mod.rs"]
mod support;
mod up;
mod writers;

use bench::Bench;

/// One bring-up for everything that only looks, or mends what it broke.
#[test]
fn a_stack_is_brought_up_from_bare_hosts_and_kept() {
    let Some(bench) = Bench::new(3) else { return };
    up::bring_up_from_bare_hosts(&bench);
    up::one_round_trip_a_host(&bench);
    up::selections_do_what_they_say(&bench);
    drift::drift_is_named_and_mended(&bench);
    drift::a_changed_setting_restarts_each_once(&bench);
    secrets::secrets_stay_secret(&bench);
    faults::a_host_that_is_down_holds_nobody_up(&bench);
}

#[test]
fn killed_at_random_moments_it_always_completes() {
    let Some(bench) = Bench::new(3) else { return };
    killed::completes(&bench);
}

#[test]
fn what_goes_wrong_on_the_way_up_is_said_and_mended() {
    let Some(bench) = Bench::new(1) else { return };
    faults::a_config_with_a_misspelt_key_touches_nothing(&bench);
    faults::a_host_with_another_key_is_refused(&bench);
    faults::a_download_with_another_digest_is_not_installed(&bench);
    faults::a_full_disk_is_said(&bench);
    faults::a_sealed_server_is_named(&bench);
}

#[test]
fn a_bundle_stands_in_for_the_internet() {
    let Some(bench) = Bench::new(1) else { return };
    bundled::a_bundle_stands_in_for_the_internet(&bench);
    bundled::images_get_on_hosts_that_reach_no_registry(&bench);
}

#[test]
fn a_fleet_is_built_by_two_shards_at_once() {
    shards::two_shards_at_once();
}

#[test]
fn of_two_runs_the_older_one_is_refused() {
    writers::a_run_that_was_stopped_is_refused_by_name();
}

#[test]
fn of_two_runs_the_killed_one_is_over_first() {
    writers::what_a_killed_run_left_at_work_ends_before_the_next_begins();
}

#[test]
fn a_closed_terminal_leaves_no_lock() {
    writers::a_closed_terminal_ends_a_run_as_one_interrupt_does();
}

#[test]
fn a_lock_host_that_is_down_is_waited_out() {
    writers::a_lock_host_that_is_down_is_waited_out_and_stood_in_for();
}
