# A folder of images, my-images, as the page on images of one's own lays it out: digits in colors. Beside it two of them, one.jpg
# and two.png, and moved-images, a copy.
python - <<'PYTHON'
from pathlib import Path

from PIL import Image
from sklearn.datasets import load_digits

images, labels = load_digits(return_X_y=True)
for number, (pixels, label) in enumerate(zip(images[:300], labels[:300])):
    part = ("labeled", "unlabeled", "unlabeled", "test")[number % 4]
    folder = Path("my-images", part) if part == "unlabeled" else Path("my-images", part, str(label))
    folder.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray((pixels.reshape(8, 8) * 255 / 16).astype("uint8")).convert("RGB")
    picture.resize((32, 32)).save(folder / f"{number:04}.png")
picture.save("one.jpg")
picture.save("two.png")
PYTHON
cp -rT my-images moved-images
