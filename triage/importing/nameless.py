"""A reference series without its patient: what an image is, and nothing of whose."""

from __future__ import annotations

from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import generate_uid

from triage.importing.checkpoint import ImportRefused

#: Attributes that say how an image is to be read; all others stay behind (PS3.3 C.7.6).
_KEPT = (
    *("SOPClassUID", "Modality", "ImageType", "BodyPartExamined", "ViewPosition", "Laterality"),
    *("PatientPosition", "PresentationIntentType", "ConvolutionKernel", "InstanceNumber"),
    *("ImagePositionPatient", "ImageOrientationPatient", "SliceThickness", "PixelSpacing"),
    *("ImagerPixelSpacing", "PixelAspectRatio", "SpacingBetweenSlices", "GantryDetectorTilt"),
    *("SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames"),
    *("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("RescaleSlope", "RescaleIntercept", "RescaleType", "WindowCenter", "WindowWidth"),
    *("VOILUTFunction", "VOILUTSequence", "ModalityLUTSequence", "PresentationLUTShape"),
    *("PixelPaddingValue", "PixelPaddingRangeLimit", "SmallestImagePixelValue"),
    *("RedPaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData"),
    *("GreenPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableData"),
    *("BluePaletteColorLookupTableDescriptor", "BluePaletteColorLookupTableData"),
    *("LossyImageCompression", "PixelData"),
)


def nameless_copies(source: Path, folder: Path, number: int) -> list[str]:
    """Copies the DICOM file, or the files of one series in a folder; the names that they have.

    Raises ImportRefused for what is no DICOM image.
    """
    files = (
        sorted(one for one in source.iterdir() if one.is_file()) if source.is_dir() else [source]
    )
    names = []
    for at, file in enumerate(files, 1):
        try:
            dataset = dcmread(file)
            copy = _nameless(dataset)
        except (InvalidDicomError, OSError, ValueError, AttributeError) as error:
            raise ImportRefused(f"{file.name}: is no DICOM image: {error}") from None
        names.append(f"reference-{number}-{at}.dcm")
        copy.save_as(folder / names[-1], enforce_file_format=True)
    if not names:
        raise ImportRefused(f"{source}: holds no file")
    return names


def _nameless(dataset: Dataset) -> Dataset:
    copy = Dataset()
    for keyword in _KEPT:
        if keyword in dataset:
            copy[keyword] = dataset[keyword]
    if "PixelData" not in copy:
        raise ValueError("no pixels")
    copy.SOPInstanceUID, copy.SeriesInstanceUID = generate_uid(), generate_uid()
    copy.file_meta = FileMetaDataset()
    copy.file_meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    return copy
