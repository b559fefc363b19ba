//! See the library of the same name.

fn main() -> anyhow::Result<()> {
    nabi_gateway::main()
}
