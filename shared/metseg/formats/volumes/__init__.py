"""Studies of volumes in files: NIfTI, NRRD and MetaImage.

`study` opens a study, whatever the format of each file; `header` is what it needs to know of one. `nrrd`, `metaimage`
and `formats.nifti.header` read the headers, `voxels` the rest.
"""
