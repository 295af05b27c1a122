"""Results of evaluations as files: one for each protocol, and none is lost to another."""

from etils import epath

from jaxgen.apps.evaluate import results


def result(seed, fid):
    return {'fid': fid, 'protocol': {'generated': {'count': 2, 'seed': seed}}}


def test_results_of_all_protocols_stay_when_they_are_measured_in_any_order(tmp_path):
    path = epath.Path(tmp_path) / '20000.json'
    for seed, fid in ((1, 5.0), (2, 6.0), (1, 7.0), (2, 8.0), (3, 9.0), (1, 10.0)):
        results.write(result(seed, fid), path)
        assert results.read(path)['fid'] == fid
    found = [results.read(file) for file in path.parent.iterdir() if file != path]
    assert {(r['protocol']['generated']['seed'], r['fid']) for r in found} >= {(2, 8.0), (3, 9.0)}


def test_a_damaged_result_is_kept_beside_the_next(tmp_path):
    path = epath.Path(tmp_path) / '20000.json'
    for damaged in ('{"fid"', '[]'):
        path.write_text(damaged)
        results.write(result(1, 5.0), path)
        assert (path.parent / '20000.json.damaged').read_text() == damaged and results.read(path)['fid'] == 5.0
