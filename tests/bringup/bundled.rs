//! A bring-up without internet: what a bundle holds is all that there is.

use std::fs;

use crate::bench::Bench;
use crate::support::openbao;

/// Bundles the stack's downloads, cuts the host off, and brings it up from the bundle.
pub fn a_bundle_stands_in_for_the_internet(bench: &Bench) {
    let (bundle, folder) = (bench.path("stack.tar"), bench.path("loaded"));
    let (bundle, folder) = (bundle.to_str().unwrap(), folder.to_str().unwrap());

    let created = bench.run(&["bundle", "create", bundle]).ok();
    eprintln!("{}", created.out);
    created.says(&openbao::asset());
    bench.run(&["bundle", "verify", bundle]).ok();
    let loaded = bench.run(&["bundle", "load", bundle, folder]).ok();
    let (_, stanza) = loaded.out.split_once("mirrors:\n").unwrap();

    // Debian's packages are no part of a bundle.
    bench.build(&["base"]).ok();
    bench.lab.ssh(0, "sudo ip route del default");
    let path = bench.lab.config();
    let text = fs::read_to_string(&path).unwrap();
    let (before, _) = text.split_once("mirrors:\n").unwrap();
    fs::write(&path, format!("{before}mirrors:\n{stanza}")).unwrap();

    let built = bench.build_stack();
    eprintln!(
        "from a bundle: {:.1} s, {} steps ran",
        built.took.as_secs_f64(),
        built.summary()["counts"]["ran"]
    );
    assert!(
        built
            .steps("ran")
            .contains(&format!("openbao:artifact@{}", bench.host(0)))
    );
    bench.run(&["stack", "status"]).ok().says("healthy");

    // A second bundle has nothing new.
    let later = bench.path("later.tar");
    let later = later.to_str().unwrap();
    bench
        .run(&["bundle", "create", later, "--since", bundle])
        .ok()
        .says("earlier");
    assert!(fs::metadata(later).unwrap().len() < 64 << 10);
    bench.run(&["bundle", "load", later, folder]).ok();
}
