//! Builds the crate anew when a task or a recipe comes or goes: they are embedded. Knows nothing about them.

fn main() {
    for watched in ["build.rs", "tasks", "recipes"] {
        println!("cargo:rerun-if-changed={watched}");
    }
}
