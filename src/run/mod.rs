//! Plan → events. Ready queue, pools, retry, cancellation, run lock. Knows no report and no transport.
