"""Parts of the page: the table of metrics names the differences between protocols."""

from jaxgen.apps.demo import views


def result(fid, **parameters):
    return {'fid': fid, 'protocol': {'generated': {'count': 9}, 'parameters': parameters}}


def test_a_table_of_metrics_names_differing_protocols():
    alike = views.metrics_table({'a': result(3.0), 'b': result(4.0)})
    assert '3.00' in alike and 'protocols differ' not in alike
    unlike = views.metrics_table({'a': result(3.0), 'b': result(4.0, manifold_subset_seed=2020)})
    assert 'The protocols differ in parameters.manifold_subset_seed: precision and recall' in unlike


def test_a_frechet_distance_is_named_after_its_features():
    inception, dinov2 = result(3.0), result(4.0)
    dinov2['protocol']['extractor'] = {'name': 'dinov2-vit-l14'}
    for results, title in (
        ({'a': inception}, 'FID'),
        ({'a': dinov2}, 'FD-DINOv2'),
        ({'a': inception, 'b': dinov2}, 'FD-DINOv2 or FID'),
    ):
        assert f'>{title}, lower is better<' in views.metrics_table(results)
