//! (Graph, facts) → plan: verdict and reasons per step. Pure; executes nothing.
