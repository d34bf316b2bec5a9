import Control
import Glibc

exit(Program.main())
