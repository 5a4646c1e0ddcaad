//! A small certificate authority: values in, values out; no network, no database, no clock.
