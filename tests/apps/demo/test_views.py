"""Parts of the page: the table of metrics says how the protocols of its columns differ."""

from jaxgen.apps.demo import views


def result(fid, **parameters):
    return {'fid': fid, 'protocol': {'generated': {'count': 9}, 'parameters': parameters}}


def test_a_table_of_metrics_says_how_protocols_differ():
    alike = views.metrics_table({'a': result(3.0), 'b': result(4.0)})
    assert '3.00' in alike and 'protocols differ' not in alike
    unlike = views.metrics_table({'a': result(3.0), 'b': result(4.0, manifold_subset_seed=2020)})
    assert 'The protocols differ in parameters.manifold_subset_seed: precision and recall' in unlike
