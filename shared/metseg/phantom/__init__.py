"""Phantoms: procedural heads with known lesions, for tests, examples in the page and training without data.

A head is drawn tissue by tissue (`anatomy`), receives metastases, and is then imaged as a scanner would:
contrast of each sequence, blur, coil shading, Rician noise (Gudbjartsson and Patz, Magn Reson Med 1995), and an
arbitrary brightness. It is based on no person's scan.

The lesions follow what is known of brain metastases:

- One in 49% of heads, two in 21%, three in 13%, four in 6%, more in 11%; in cerebrum, cerebellum and brain stem
  as 80 to 15 to 5 (Delattre et al., Arch Neurol 1988;45:741-4).
- At the border of grey and white matter, where arteries narrow (Hwang et al., Cancer 1996;77:1551-5).
- 2 to 30 mm across and mostly small; large ones die from within and enhance as a ring.
- In oedema that spreads through white matter and spares cortex and fluid.

The mask is the whole abnormality that FLAIR shows, lesion and oedema, as in the public LGG data (Buda et al.,
Comput Biol Med 2019).
"""

from metseg.phantom.anatomy import Tissue
from metseg.phantom.scan import SIGNAL, Phantom, PhantomLesion, head

__all__ = ["SIGNAL", "Phantom", "PhantomLesion", "Tissue", "head"]
