"""Stanford Dogs (Khosla et al. 2011): 20,580 photographs of 120 breeds.

The photographs are cropped to a square and resized once; the result is cached.
"""

from __future__ import annotations

import pathlib

import numpy as np

from jaxgen.data import decoded, tfds_source
from jaxgen.data.resize import WHOLE_IMAGE, resize, square_around

_BREEDS_IN_LABEL_ORDER = """
chihuahua japanese_spaniel maltese_dog pekinese shih-tzu blenheim_spaniel papillon toy_terrier rhodesian_ridgeback
afghan_hound basset beagle bloodhound bluetick black-and-tan_coonhound walker_hound english_foxhound redbone borzoi
irish_wolfhound italian_greyhound whippet ibizan_hound norwegian_elkhound otterhound saluki scottish_deerhound
weimaraner staffordshire_bullterrier american_staffordshire_terrier bedlington_terrier border_terrier
kerry_blue_terrier irish_terrier norfolk_terrier norwich_terrier yorkshire_terrier wire-haired_fox_terrier
lakeland_terrier sealyham_terrier airedale cairn australian_terrier dandie_dinmont boston_bull miniature_schnauzer
giant_schnauzer standard_schnauzer scotch_terrier tibetan_terrier silky_terrier soft-coated_wheaten_terrier
west_highland_white_terrier lhasa flat-coated_retriever curly-coated_retriever golden_retriever labrador_retriever
chesapeake_bay_retriever german_short-haired_pointer vizsla english_setter irish_setter gordon_setter
brittany_spaniel clumber english_springer welsh_springer_spaniel cocker_spaniel sussex_spaniel irish_water_spaniel
kuvasz schipperke groenendael malinois briard kelpie komondor old_english_sheepdog shetland_sheepdog collie
border_collie bouvier_des_flandres rottweiler german_shepherd doberman miniature_pinscher greater_swiss_mountain_dog
bernese_mountain_dog appenzeller entlebucher boxer bull_mastiff tibetan_mastiff french_bulldog great_dane
saint_bernard eskimo_dog malamute siberian_husky affenpinscher basenji pug leonberg newfoundland great_pyrenees
samoyed pomeranian chow keeshond brabancon_griffon pembroke cardigan toy_poodle miniature_poodle standard_poodle
mexican_hairless dingo dhole african_hunting_dog
"""
BREEDS = tuple(
    _BREEDS_IN_LABEL_ORDER.split()
)  # in the order of TFDS's labels, which follows the breeds' WordNet numbers
CROPS = ('center', 'box')


def read(split: str, image_size: int, crop: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the images uint8 ``[N, image_size, image_size, 3]`` and labels int32 ``[N]`` of an official split.

    Args:
      split: ``train`` (12,000 images) or ``test`` (8,580).
      image_size: side in pixels; the photographs are resized with antialiasing (bicubic).
      crop: ``center`` for the largest square in the middle of the photograph, or ``box`` for the square around the dog's
        bounding box (see ``square_around``).

    Raises:
      UserError: if the data cannot be downloaded or prepared, or a record is damaged.
    """
    folder = tfds_source.prepared('stanford_dogs', split)
    return decoded.cached(folder, split, image_size, lambda: _decode_all(folder, split, image_size, crop), crop)


def _decode_all(folder: pathlib.Path, split: str, image_size: int, crop: str) -> tuple[np.ndarray, np.ndarray]:
    def convert(record: dict) -> tuple[np.ndarray, int]:
        boxes = record['objects']['bbox'] if crop == 'box' else []
        # A photograph may show several dogs: take the largest.
        largest = max(boxes, key=lambda b: (b[2] - b[0]) * (b[3] - b[1]), default=WHOLE_IMAGE)
        image = tfds_source.decode(record)
        return resize(image, image_size, square_around(largest, *image.size)), record['label']

    images, labels = zip(*tfds_source.records(folder, split, convert), strict=True)
    return np.stack(images), np.array(labels, np.int32)
