//! The recipes that install charts: what of the seed's stack they make, in which order, with which values. With the
//! charts at hand every one is rendered by Helm with the values of its recipe. Runs no cluster.

#![expect(
    clippy::print_stderr,
    reason = "a test says what it sees, and why it is skipped"
)]

#[path = "charts/helm.rs"]
mod helm;
#[path = "charts/images.rs"]
mod images;
#[path = "charts/order.rs"]
mod order;
#[path = "charts/pins.rs"]
mod pins;
#[path = "charts/scalars.rs"]
mod scalars;
#[path = "charts/stacks.rs"]
mod stacks;
#[path = "charts/values.rs"]
mod values;
