# The folder of the repository, as far as these pages name it.
cp -r "$GIVEN/../../../launch" launch
