//! Adapters: where the effects of steps live. Each gives the ports of `probe` and `run` their hands.
