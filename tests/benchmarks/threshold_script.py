"""The script that users write today; the baseline of the benchmarks.

SimpleITK reads the series, one threshold makes a mask, connected components are
counted. It knows neither vertebrae nor metal.
"""

import sys

import SimpleITK as sitk

THRESHOLD_HU = 600


def main(folder: str) -> None:
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(folder))
    image = reader.Execute()
    mask = image > THRESHOLD_HU
    components = sitk.RelabelComponent(
        sitk.ConnectedComponent(mask), minimumObjectSize=100
    )
    statistics = sitk.LabelIntensityStatisticsImageFilter()
    statistics.Execute(components, image)
    for label in statistics.GetLabels():
        volume_ml = statistics.GetPhysicalSize(label) / 1000
        print(f"{label} {volume_ml:.3f} mL mean {statistics.GetMean(label):.0f} HU")


if __name__ == "__main__":
    main(sys.argv[1])
