//! A whole appliance, as `nabi up` starts it.
