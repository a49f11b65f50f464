//! A real K3s on real Debian hosts: brought up with three servers and two agents, left alone when all is well, nodes taken
//! away and added, a server killed while it joins, a virtual address that is taken, a disk that is full, a
//! snapshot restored. `FOUNDRY_TEST_K3S=/path/to/k3s` names the program; without it, or
//! where no lab can be made, the test says so and passes. Run with `--no-capture` it shows what ran when.

#![expect(clippy::print_stderr, reason = "a log shows times and counts")]

mod bench;
mod faults;
mod life;
#[path = "../support/mod.rs"]
mod support;

use bench::Bench;

#[test]
fn a_cluster_from_bare_hosts_through_its_life() {
    let Some(bench) = Bench::new(6) else { return };
    life::brought_up_in_order_and_as_parallel_as_can_be(&bench);
    life::again_nothing_to_do(&bench);
    faults::an_address_that_another_machine_has_is_not_taken(&bench);
    life::the_kubeconfig_lets_people_in(&bench);
    life::a_step_of_two_minors_is_refused(&bench);
    life::a_quorum_is_not_given_away(&bench);
    life::an_agent_leaves(&bench);
    life::a_server_leaves(&bench);
    life::a_server_killed_while_it_joins_is_completed(&bench);
    faults::a_full_disk_is_named_and_the_next_run_repairs(&bench);
    let snapshot = life::a_snapshot_is_taken(&bench);
    life::a_snapshot_brings_the_cluster_back(&bench, &snapshot);
}
