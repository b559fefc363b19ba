//! The benchmark of the gateway runs: each measure, both sides, in the smallest size. What it
//! measures then is of no interest.

use std::fs;
use std::process::Command;

use serde_json::Value;

#[test]
fn the_gateway_benchmark_takes_each_measure_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("gateway.json");
    let bench = Command::new(env!("CARGO_BIN_EXE_nabi-bench"));
    let output = { bench }.args(["gateway", "--smoke", "--out"]).arg(&out).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&fs::read(out).expect("a file")).expect("JSON");
    assert_eq!((&report["pairs"], &report["smoke"]), (&1.into(), &true.into()));
    let rows = report["rows"].as_array().expect("rows");
    assert_eq!(rows.len(), 9);
    for row in rows {
        assert!(row["nabi"].as_f64().is_some_and(|value| value >= 0.0), "{row}");
        assert_eq!(row["goal"].is_null(), row["met"].is_null(), "{row}");
    }
    let table = String::from_utf8(output.stdout).expect("text");
    assert_eq!(table.lines().filter(|line| line.starts_with("| ")).count(), rows.len() + 1);
}
