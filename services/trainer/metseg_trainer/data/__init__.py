"""From a training folder to samples: layouts, audit, split, preparation, augmentation, lesion synthesis."""
