"""Write the tables of the pages of results from the stored evaluations: ``python -m docs.results.make``.

A page marks the place of a table with ``<!-- begin NAME -->`` and ``<!-- end NAME -->``.
"""

from __future__ import annotations

from docs.results.tables import CLASSES, FOLDER, Losses, Matrix, Table

SCALES = ('1.0', '1.5', '2.5', '4.0')
LENGTHS = ('0: the average of training, `ema_decay=0.999`', '0.03', '0.05', '0.08', '0.12', '0.18')
SAMPLERS = ('dpmpp_2m', 'ddim', 'heun', 'ddpm')
CALLS = {'5': '05', '10': '10', '20': '20', '50': '50'}
HEUN_CALLS = {'5': '05', '10': '09', '20': '19', '50': '49'}  # two in each step but the last
CPU_RUNS = {
    '`:edm`, 20,000 steps': 'guidance/cfg2.5.json',
    '`:cpu`, cut to 10,500 steps': 'ddpm_cifar/cpu_10500.json',
    '`:cpu`, 16,000 steps': 'ddpm_cifar/cpu.json',
}

TABLES: dict[str, Table | Matrix | Losses] = {
    'cpu': Table('ddpm_cifar.md', 'model', CPU_RUNS),
    'cpu_classes': Table('ddpm_cifar.md', 'model', CPU_RUNS, CLASSES),
    'models': Table(
        '../../README.md',
        'model | config and training time',
        {
            '`pretrained/ddpm_cifar`, 3.2 MB | `configs/ddpm_cifar.py:cpu`, [2.7 hours on two CPU '
            'cores](docs/results/ddpm_cifar.md)': '../../pretrained/ddpm_cifar/evaluation/2000_images.json',
            '`pretrained/dcgan_cifar`, 3.5 MB | `configs/dcgan_cifar.py:small`, [75 minutes on two CPU '
            'cores](docs/results/dcgan_cifar_small.md)': 'r3gan/dcgan.json',
        },
    ),
    'dog_models': Table(
        '../../README.md',
        'model | config and training time',
        {
            '`pretrained/ddpm_dogs`, 3.3 MB | `configs/ddpm_dogs.py:small`, [50 epochs on a '
            'GPU](docs/results/ddpm_dogs_small.md)': '../../pretrained/ddpm_dogs/evaluation/8580_images.json',
            '`pretrained/dcgan_dogs`, 3.6 MB | `configs/dcgan_dogs.py:small`, [50 epochs on a '
            'GPU](docs/results/dcgan_dogs_small.md)': '../../pretrained/dcgan_dogs/evaluation/8580_images.json',
        },
        ('FID', 'KID', 'precision', 'recall'),
    ),
    **{
        f'one_class_{name}': Table(
            'one_class.md',
            'images | trained on',
            {
                f'{label} | {count:,}': f'one_class/{family}_{name}_{count}.json'
                for label, family in (('diffusion', 'ddpm'), ('DCGAN', 'dcgan'))
                for count in (5000, 3000)
            }
            | {'1,000 held-out photographs | ': f'one_class/real_{name}.json'},
            ('FID', 'KID', f'seen as {name}'),
        )
        for name in ('dog', 'horse')
    },
    'lora': Table(
        'ddpm_cifar_lora.md',
        'model | truck images',
        {'the base | 0': 'ddpm_cifar_lora.json#base'}
        | {
            f'{label} | {count}': f'ddpm_cifar_lora.json#{key}_{count}'
            for count in (50, 500)
            for label, key in (
                ('LoRA, rank 1', 'r1'),
                ('LoRA, rank 4', 'r4'),
                ('LoRA, rank 16', 'r16'),
                ('all parameters', 'full'),
            )
        }
        | {'LoRA, rank 16, ten times the learning rate | 500': 'ddpm_cifar_lora.json#r16_500_fast'},
        ('recognised as trucks', 'KID of trucks', 'the nine recognised', 'bytes'),
    ),
    'denoising': Losses(
        'ddpm_cifar.md',
        {name: f'ddpm_cifar/loss.json#{i}' for i, name in enumerate(CPU_RUNS)},
    ),
    'denoising_muon': Losses(
        'optimizers.md',
        {
            'constant, 12,750 steps': 'optimizers/loss.json#0',
            'and 600 steps of decay': 'optimizers/loss.json#1',
        },
    ),
    'compare': Table(
        'compare_cifar.md',
        'model',
        {'diffusion': 'compare_cifar/ddpm_10000.json', 'DCGAN': 'compare_cifar/dcgan_10000.json'},
    ),
    'compare_later': Table(
        'compare_cifar.md',
        'model',
        {
            'diffusion, `:edm`': 'guidance/cfg2.5.json',
            'diffusion, `:cpu`': 'ddpm_cifar/cpu.json',
            'DCGAN': 'r3gan/dcgan.json',
        },
    ),
    'compare_seeds': Table(
        'compare_cifar.md',
        'model',
        {
            'diffusion, seed 0': 'compare_cifar/ddpm_seed_0.json',
            'diffusion, seed 1': 'compare_cifar/ddpm_seed_1.json',
            'DCGAN, seed 0': 'compare_cifar/dcgan_seed_0.json',
            'DCGAN, seed 1': 'compare_cifar/dcgan_seed_1.json',
        },
    ),
    'decay': Table(
        'optimizers.md',
        'learning rate, augmentation; guidance',
        {
            'constant; 1': 'optimizers/constant.json',
            'cosine; 1': 'optimizers/cosine.json',
            'cosine, 0.12; 1': 'optimizers/augment.json',
            'constant; 2.5': 'optimizers/constant_2.5.json',
            'cosine; 2.5': 'optimizers/cosine_2.5.json',
            'cosine, 0.12; 2.5': 'optimizers/augment_2.5.json',
        },
    ),
    'scales': Table(
        'guidance.md',
        'guidance scale',
        {scale: f'guidance/scale_{scale}.json' for scale in SCALES},
        ('FID', 'KID', 'recognised as the requested class'),
    ),
    'guides': Table(
        'guidance.md',
        'guidance',
        {
            'none': 'guidance/plain.json',
            'autoguidance, 1.5': 'guidance/auto1.5.json',
            'autoguidance, 2': 'guidance/auto2.json',
            'autoguidance, 3': 'guidance/auto3.json',
            'classifier-free, 2.5': 'guidance/cfg2.5.json',
            'classifier-free, 2, and autoguidance, 1.5': 'guidance/both.json',
            'classifier-free, 2, and autoguidance, 1.5, by `:guide`': 'guidance/both_small.json',
        },
    ),
    'cpu_guides': Table(
        'guidance.md',
        'guidance',
        {
            'classifier-free, 2.5': 'guidance/cpu_cfg2.5.json',
            'classifier-free, 3.5 between noise levels 0.2 and 5': 'guidance/cpu_interval.json',
            'classifier-free, 2.5, and autoguidance, 1.25': 'guidance/cpu_2.5_auto1.25.json',
            'classifier-free, 2.5, and autoguidance, 1.5': 'guidance/cpu_2.5_auto1.5.json',
            'classifier-free, 2, and autoguidance, 1.5': 'guidance/cpu_2_auto1.5.json',
            'classifier-free, 2, and autoguidance, 2': 'guidance/cpu_2_auto2.json',
        },
    ),
    'calls': Matrix(
        'network_calls.md',
        'network calls',
        'kid',
        {
            calls: {
                f'`{sampler}`': f'network_calls/{sampler}_{(HEUN_CALLS if sampler == "heun" else CALLS)[calls]}.json'
                for sampler in SAMPLERS
            }
            for calls in CALLS
        },
    ),
    'few_calls': Table(
        'few_calls.md',
        'model and sampler',
        {
            'consistency tuning, 1 call': 'few_calls/consistency_1.json',
            'consistency tuning, 2 calls': 'few_calls/consistency_2.json',
            'before tuning: DDIM, 1 call': 'few_calls/few_ddim_1.json',
            'before tuning: DDIM, 2 calls': 'few_calls/few_ddim_2.json',
            'before tuning: DPM-Solver++, 2 calls': 'few_calls/few_dpmpp_2m_2.json',
            'before tuning: DPM-Solver++, 5 calls': 'network_calls/dpmpp_2m_05.json',
            'before tuning: DPM-Solver++, 15 calls': 'guidance/plain.json',
            'before tuning: DPM-Solver++, 15 calls, guidance 2.5': 'guidance/cfg2.5.json',
        },
        ('FID', 'KID', 'recognised as the requested class'),
    ),
    'lengths': Table(
        'ema_length.md',
        'EMA length',
        {label: f'ema_length.json#{i}' for i, label in enumerate(LENGTHS)},
        ('FID', 'KID', 'recognised as the requested class'),
    ),
    'dcgan': Table('dcgan_cifar_small.md', 'model', {'DCGAN': 'compare_cifar/dcgan_10000.json'}),
    'dcgan_classes': Table(
        'dcgan_cifar_small.md', 'recognised as', {'DCGAN': 'compare_cifar/dcgan_10000.json'}, CLASSES
    ),
    'hinge': Table(
        'dcgan_cifar_small.md',
        'discriminator',
        {
            'batch normalisation, cross entropy: 2,111 steps': 'dcgan_cifar_small/short.json',
            'spectral normalisation, hinge loss: 2,363 steps': 'dcgan_cifar_small/short_hinge.json',
        },
    ),
    'dogs': Table(
        'compare_dogs.md',
        'images',
        {
            'diffusion': 'compare_dogs_ddpm.json',
            'diffusion, guidance 1.5': 'compare_dogs_ddpm_1.5.json',
            'diffusion, guidance 6': '../../pretrained/ddpm_dogs/evaluation/8580_images.json',
            'DCGAN': '../../pretrained/dcgan_dogs/evaluation/8580_images.json',
            'real: the 12,000 of training': 'compare_dogs_real.json',
        },
        ('FID', 'KID', 'precision', 'recall'),
    ),
    'dogs_guidance': Table(
        'ddpm_dogs_small.md',
        'guidance scale',
        {scale: f'ddpm_dogs_small_guidance/{scale}.json' for scale in ('1.5', '2.5', '4', '6', '9', '13')},
        ('FID', 'KID'),
    ),
    'dogs_augment': Table(
        'dcgan_dogs_small.md',
        'augmentation',
        {
            'none': 'dcgan_dogs_small_augment/none.json',
            'translation and cutout': 'dcgan_dogs_small_augment/translation_cutout.json',
        },
        ('FID', 'KID'),
    ),
    'gans': Table(
        'r3gan_cifar.md',
        'model',
        {
            'R3GAN, 53 minutes': 'r3gan/r3gan.json',
            'DCGAN, 75 minutes': 'r3gan/dcgan.json',
        },
    ),
}


def pages() -> dict[str, str]:
    """Return the text of each page that has tables, with the tables as the evaluations say."""
    found: dict[str, str] = {}
    for name, table in TABLES.items():
        text = found.get(table.page) or (FOLDER / table.page).read_text()
        begin, end = f'<!-- begin {name} -->', f'<!-- end {name} -->'
        before, is_begun, rest = text.partition(begin)
        _, is_ended, after = rest.partition(end)
        if not (is_begun and is_ended):
            raise ValueError(f'{table.page} must have {begin} and, after it, {end}')
        found[table.page] = f'{before}{begin}\n{table.text()}\n{end}{after}'
    return found


if __name__ == '__main__':
    for page, text in pages().items():
        (FOLDER / page).write_text(text)
