from .base import KEY_DAYS as KEY_DAYS
from .base import ObjectInfo as ObjectInfo
from .base import ObjectStore as ObjectStore
from .factory import open_store as open_store
from .local_folder import LocalFolderStore as LocalFolderStore
from .ranged_file import RangedFile as RangedFile
from .s3 import S3Store as S3Store
from .s3_users import S3Users as S3Users
